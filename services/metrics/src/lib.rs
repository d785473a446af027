//! One page of measurements for Prometheus.
#![forbid(unsafe_code)]
