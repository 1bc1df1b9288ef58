//! The end of what a program printed.

/// Keeps the last bytes of a stream, whatever its length.
pub(super) struct Tail {
    bytes: Vec<u8>,
    most: usize,
    /// Whether bytes before these were dropped.
    cut: bool,
}

impl Tail {
    /// Keeps this many bytes.
    pub(super) fn of(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            most,
            cut: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Cut in larger pieces, so that many small pushes do not move the whole each time.
        if self.bytes.len() > 2 * self.most {
            self.cut_to_size();
        }
    }

    /// The end as text; a character that was cut in two is left out.
    pub(super) fn text(mut self) -> String {
        self.cut_to_size();
        let continues = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let halved = if self.cut {
            self.bytes.iter().take(3).take_while(continues).count()
        } else {
            0
        };
        let bytes = self.bytes.get(halved..).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn cut_to_size(&mut self) {
        let too_many = self.bytes.len().saturating_sub(self.most);
        self.cut |= too_many > 0;
        self.bytes.drain(..too_many);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::of(4);
        for piece in ["one ", "two ", "three"] {
            tail.push(piece.as_bytes());
        }
        assert_eq!(tail.text(), "hree");
    }

    #[test]
    fn a_character_cut_in_two_is_left_out() {
        let mut tail = Tail::of(4);
        tail.push("aäöü".as_bytes());
        assert_eq!(tail.text(), "öü");
        let mut tail = Tail::of(3);
        tail.push("aäöü".as_bytes());
        assert_eq!(tail.text(), "ü");
    }
}
