//! As much of DER (X.690) as it takes to walk to one field of a signature.

/// The rest of a constructed value's content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const CONTEXT_CONSTRUCTED: u8 = 0xa0;

impl<'a> Der<'a> {
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.expect(SEQUENCE).map(Der)
    }

    /// `[number] EXPLICIT`
    pub(super) fn explicit(&mut self, number: u8) -> Option<Self> {
        self.expect(CONTEXT_CONSTRUCTED | number).map(Der)
    }

    pub(super) fn object_identifier(&mut self, wanted: &[u8]) -> Option<()> {
        (self.expect(OBJECT_IDENTIFIER)? == wanted).then_some(())
    }

    pub(super) fn octets(&mut self) -> Option<&'a [u8]> {
        self.expect(OCTET_STRING)
    }

    pub(super) fn skip(&mut self) -> Option<()> {
        self.element().map(|_| ())
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.element()?;
        (found == tag).then_some(content)
    }

    /// Tag and content; definite lengths of at most four bytes, as DER has them
    /// for anything that fits a slot.
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut length = usize::from(*first);
        if *first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if !(1..=4).contains(&count) {
                return None;
            }
            let digits;
            (digits, rest) = rest.split_at_checked(count)?;
            length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_nested_values() {
        let mut outer = Der(&[0x30, 6, 0x06, 1, 42, 0x04, 1, 7, 0xff]);
        let mut inner = outer.sequence().unwrap();
        inner.object_identifier(&[42]).unwrap();
        assert_eq!(inner.octets(), Some(&[7][..]));
        assert!(inner.skip().is_none());
    }

    #[test]
    fn refuses_lengths_that_lie() {
        for bytes in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0],
        ] {
            assert!(Der(bytes).sequence().is_none(), "{bytes:x?}");
        }
    }
}
