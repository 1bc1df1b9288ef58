//! The end of what a program printed.

/// Keeps the last bytes of a stream, whatever its length.
pub(super) struct Tail {
    bytes: Vec<u8>,
    most: usize,
}

impl Tail {
    /// Keeps this many bytes.
    pub(super) fn of(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            most,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Cut in larger pieces, so that many small pushes do not move the whole each time.
        if self.bytes.len() > 2 * self.most {
            self.bytes.drain(..self.bytes.len() - self.most);
        }
    }

    /// The end as text; a character that was cut in two is left out.
    pub(super) fn text(&self) -> String {
        let start = self.bytes.len().saturating_sub(self.most);
        let continues = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let cut = if start == 0 {
            0
        } else {
            let rest = self.bytes.iter().skip(start);
            rest.take(3).take_while(|byte| continues(byte)).count()
        };
        String::from_utf8_lossy(&self.bytes[start + cut..]).into_owned()
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
