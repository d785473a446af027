use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::as_text::as_text;

/// A kernel setting that a document may change, as `sysctl(8)` writes it. The allowed ones are
/// listed in this file; what `network` sets by itself (forwarding, `accept_ra`) is not among them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SysctlKey(String);

/// A setting's value: 1 to 64 letters, digits, blanks, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SysctlValue(String);

/// Why a setting is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SysctlError {
    /// Not on the list.
    #[error("this setting cannot be changed from the document")]
    NotAllowed,
    /// `network` sets it from `forwarding` and `ipv6.method`.
    #[error("the router sets this itself, from `forwarding`, `role` and `method`")]
    Managed,
    /// The value has other characters or is too long.
    #[error("a setting's value has 1 to 64 letters, digits, blanks, '.', '_', '-'")]
    Value,
}

impl SysctlKey {
    /// The path below `/proc/sys`.
    #[must_use]
    pub fn path(&self) -> String {
        self.0.replace('.', "/")
    }
}

impl FromStr for SysctlKey {
    type Err = SysctlError;

    fn from_str(text: &str) -> Result<Self, SysctlError> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.len() > 128 || !text.chars().all(known) || text.split('.').any(str::is_empty) {
            return Err(SysctlError::NotAllowed);
        }
        if MANAGED.iter().any(|pattern| fits(pattern, text)) {
            Err(SysctlError::Managed)
        } else if ALLOWED.iter().any(|pattern| fits(pattern, text)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SysctlError::NotAllowed)
        }
    }
}

impl FromStr for SysctlValue {
    type Err = SysctlError;

    fn from_str(text: &str) -> Result<Self, SysctlError> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-');
        if (1..=64).contains(&text.len()) && text.chars().all(known) && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(SysctlError::Value)
        }
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SysctlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SysctlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_text! {
    SysctlKey: "sysctl-key",
        "A kernel setting that a document may change, such as net.ipv4.tcp_congestion_control",
        r"^net\.[A-Za-z0-9._-]{1,124}$";
    SysctlValue: "sysctl-value",
        "A setting's value",
        r"^[A-Za-z0-9._-]([A-Za-z0-9 ._-]{0,62}[A-Za-z0-9._-])?$";
}

/// A `*` at the end stands for the rest, `*` between dots for one part.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = text.split('.');
    for wanted in pattern.split('.') {
        let Some(part) = parts.next() else {
            return false;
        };
        let fit = match wanted.strip_suffix('*') {
            Some(start) => part.starts_with(start),
            None => part == wanted,
        };
        if !fit {
            return false;
        }
    }
    parts.next().is_none()
}

const ALLOWED: &[&str] = &[
    "net.core.default_qdisc",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_default",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_default",
    "net.core.wmem_max",
    "net.ipv4.conf.*.arp_announce",
    "net.ipv4.conf.*.arp_filter",
    "net.ipv4.conf.*.arp_ignore",
    "net.ipv4.conf.*.log_martians",
    "net.ipv4.conf.*.proxy_arp",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv4.conf.*.send_redirects",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.icmp_ratelimit",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.neigh.default.gc_thresh*",
    "net.ipv4.tcp_*",
    "net.ipv6.conf.*.dad_transmits",
    "net.ipv6.fib_multipath_hash_policy",
    "net.ipv6.neigh.default.gc_thresh*",
    "net.ipv6.route.max_size",
    "net.netfilter.nf_conntrack_*",
];

const MANAGED: &[&str] = &[
    "net.ipv4.ip_forward",
    "net.ipv4.conf.*.forwarding",
    "net.ipv6.conf.*.forwarding",
    "net.ipv6.conf.*.accept_ra",
    "net.ipv6.conf.*.autoconf",
    "net.ipv6.conf.*.disable_ipv6",
    "net.ipv6.conf.*.use_tempaddr",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_settings_pass() {
        for good in [
            "net.ipv4.tcp_congestion_control",
            "net.ipv4.conf.eth0.rp_filter",
        ] {
            assert!(good.parse::<SysctlKey>().is_ok(), "{good}");
        }
        for bad in [
            "kernel.panic",
            "net.ipv4.conf.rp_filter",
            "net.ipv4.tcp_x.y",
            "net.ipv4.tcp_/../../kernel",
            "net..ipv4",
            "net.ipv4.conf..rp_filter",
            "",
        ] {
            assert_eq!(
                bad.parse::<SysctlKey>(),
                Err(SysctlError::NotAllowed),
                "{bad}"
            );
        }
        assert_eq!(
            "net.ipv4.ip_forward".parse::<SysctlKey>(),
            Err(SysctlError::Managed)
        );
    }
}
