//! Makes a new input from an old one.

/// SplitMix64: the same inputs in every run from the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// Values at which lengths, counts and offsets go wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];
/// Inputs do not grow beyond this.
const LONGEST: usize = 1 << 20;

/// Changes `input` in one to eight places. `other` is valid input to take pieces from.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(8) {
        once(input, other, random);
    }
    input.truncate(LONGEST);
}

fn once(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let place = random.below(input.len());
    let length = 1 + random.below(16.min(input.len().saturating_sub(place)).max(1));
    let end = (place + length).min(input.len());
    match random.below(9) {
        0 => input.truncate(place),
        1 => drop(input.drain(place..end)),
        2 => {
            let piece = input[place..end].to_vec();
            splice(input, random.below(usize::MAX), &piece);
        }
        3 => {
            let from = random.below(other.len());
            let piece = &other[from..(from + length).min(other.len())];
            splice(input, place, piece);
        }
        4 => {
            let byte = random.byte();
            splice(input, place, &vec![byte; random.below(300)]);
        }
        5 => number(input, place, random),
        6 => {
            if let Some(byte) = input.get_mut(place) {
                *byte = random.byte();
            }
        }
        7 => input[place..end].reverse(),
        _ => {
            if let Some(byte) = input.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// Inserts `piece`, as far as there is room.
fn splice(input: &mut Vec<u8>, place: usize, piece: &[u8]) {
    let place = place % (input.len() + 1);
    input.splice(place..place, piece.iter().copied());
}

/// Puts an edge value of some width and byte order over what is there.
fn number(input: &mut [u8], place: usize, random: &mut Random) {
    let value = EDGES[random.below(EDGES.len())];
    let width = 1 << random.below(4);
    let mut bytes = value.to_le_bytes();
    let bytes = &mut bytes[..width];
    if random.below(2) == 0 {
        bytes.reverse();
    }
    for (to, from) in input[place..].iter_mut().zip(bytes) {
        *to = *from;
    }
}
