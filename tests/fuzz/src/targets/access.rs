//! What people, scrapers and other services bring to metrics, remote and console.

use metrics::exposition::parse;
use metrics::page::{Format, Page};

/// Whatever is taken from a service makes a page that is valid again.
pub(super) fn exposition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(families) = parse(text) else {
        return;
    };
    let mut page = Page::default();
    page.merge("one", families.clone());
    page.merge("two", families);
    drop(page.render(Format::Text));
    // The page's own label is what the parser refuses in others.
    let text = page.render(Format::OpenMetrics);
    let text = text.replace("{service=\"", "{of=\"");
    if text.len() <= metrics::exposition::TEXT_MAX_BYTES {
        // Two services may be too many samples, or bring the label `of`.
        let _ = parse(&text);
    }
}

pub(super) fn expositions() -> Vec<Vec<u8>> {
    vec![
        b"# HELP a A.\n# TYPE a counter\n# UNIT a \na_total 1\n# EOF\n".to_vec(),
        b"# TYPE b gauge\nb{x=\"\\\"\\\\\\n\",y=\"}\"} -1.5e3\n# EOF\n".to_vec(),
        b"# TYPE c_seconds histogram\n# UNIT c_seconds seconds\nc_seconds_bucket{le=\"+Inf\"} 1\n\
          c_seconds_sum 1\nc_seconds_count 1\n# EOF\n"
            .to_vec(),
    ]
}

/// Words are never longer than the line.
pub(super) fn command_line(bytes: &[u8]) {
    if let Ok(words) = remote::words::split(bytes) {
        let length: usize = words.iter().map(String::len).sum();
        assert!(length <= bytes.len());
    }
}

pub(super) fn command_lines() -> Vec<Vec<u8>> {
    vec![
        b"x0ctl service show network".to_vec(),
        br#"config diff 'a b' "c\" d" e\ f"#.to_vec(),
    ]
}

/// What is taken is bounded; verifying would cost too much for so many inputs.
pub(super) fn password_hash(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && password::Hash::parse(text).is_ok()
    {
        assert!(text.len() <= password::HASH_MAX_BYTES);
    }
}

pub(super) fn password_hashes() -> Vec<Vec<u8>> {
    vec![
        b"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
            .to_vec(),
        b"$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0\
          Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."
            .to_vec(),
    ]
}
