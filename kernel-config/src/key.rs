//! The name under which a build is cached: a hash of everything that can change its bytes.

use sha2::{Digest, Sha256};

/// Raised whenever the recipe in `build.rs` changes what comes out.
const RECIPE: &str = "1";

/// `parts` are named, and each is framed by its length: no two different inputs share a text.
pub(crate) fn key(parts: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for (name, value) in parts.iter().chain(&[("recipe", RECIPE)]) {
        for text in [name, value] {
            hash.update(text.len().to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_every_part_and_on_where_it_ends() {
        let keys = [
            key(&[("source", "6.12"), ("compiler", "12")]),
            key(&[("source", "6.13"), ("compiler", "12")]),
            key(&[("source", "6.12"), ("compiler", "13")]),
            key(&[("source", "6.12compiler"), ("", "12")]),
            key(&[("compiler", "12"), ("source", "6.12")]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!keys[index + 1..].contains(one));
        }
        assert_eq!(keys[0], key(&[("source", "6.12"), ("compiler", "12")]));
    }
}
