//! What lies among the names of a store and is no name.

/// Texts that one [`Damage`] keeps; the rest are counted. A hundred show a person the pattern.
const TEXTS_MAX: usize = 100;

/// What a page met and could not read as a name: texts that say where each lies, in the order in
/// which they were met. It holds up nothing but itself (protocol, section 11): the page goes on
/// behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    texts: Vec<String>,
    /// Those beyond the texts.
    others: u64,
}

impl Damage {
    /// Adds one; `text` says where it lies and what is wrong with it.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        assert!(self.texts.len() <= TEXTS_MAX, "{} texts are kept", self.texts.len());
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text());
        } else {
            self.others += 1;
        }
    }

    /// Adds all that another page met.
    pub fn append(&mut self, later: Damage) {
        let Damage { texts, others } = later;
        for text in texts {
            self.add(|| text);
        }
        self.others += others;
    }

    /// Returns true if nothing was met.
    pub fn is_empty(&self) -> bool {
        assert!(self.others == 0 || !self.texts.is_empty(), "what is counted comes after texts");
        self.texts.is_empty()
    }

    /// Returns the text of the first one that was met.
    pub fn first(&self) -> Option<&str> {
        self.texts.first().map(String::as_str)
    }

    /// Returns the texts, and a last one with the number of the others, in `place`.
    pub fn into_texts(mut self, place: &str) -> Vec<String> {
        if self.others > 0 {
            self.texts.push(format!("{place}: {} more names that cannot be read", self.others));
        }
        self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(numbers: std::ops::Range<usize>) -> Damage {
        let mut damage = Damage::default();
        numbers.for_each(|number| damage.add(|| format!("name {number}")));
        damage
    }

    #[test]
    fn texts_are_bounded_and_nothing_is_left_out() {
        assert!(met(0..0).is_empty() && met(0..0).first().is_none());
        assert_eq!(met(0..2).into_texts("here"), ["name 0", "name 1"]);
        let mut damage = met(0..TEXTS_MAX - 1);
        damage.append(met(TEXTS_MAX..2 * TEXTS_MAX + 7));
        assert_eq!(damage.first(), Some("name 0"));
        let texts = damage.into_texts("here");
        assert_eq!(texts.len(), TEXTS_MAX + 1);
        assert_eq!(texts[TEXTS_MAX], "here: 106 more names that cannot be read");
    }
}
