//! Remote shell over SSH, with keys only.
#![forbid(unsafe_code)]
