//! Objects among the names of a store that cannot be read as names.

/// The most texts that one [`Damage`] keeps; the rest are counted. A hundred show a person the
/// pattern.
const TEXTS_MAX: usize = 100;

/// The objects that a page found and could not read as names, each as a text that says where it
/// lies, in the order in which they were found. They do not end the page: it continues behind them
/// (protocol, section 11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    texts: Vec<String>,
    /// The number of objects beyond those in `texts`.
    others: u64,
}

impl Damage {
    /// Adds one object; `text` says where it lies and what is wrong with it.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
        assert!(self.texts.len() <= TEXTS_MAX, "{} texts are kept", self.texts.len());
        if self.texts.len() < TEXTS_MAX {
            self.texts.push(text());
        } else {
            self.others += 1;
        }
    }

    /// Adds the objects that a later page found.
    pub fn append(&mut self, later: Damage) {
        let Damage { texts, others } = later;
        for text in texts {
            self.add(|| text);
        }
        self.others += others;
    }

    /// Returns true if no such object was found.
    pub fn is_empty(&self) -> bool {
        assert!(
            self.others == 0 || !self.texts.is_empty(),
            "objects are counted only after the texts are full"
        );
        self.texts.is_empty()
    }

    /// Returns the text of the first object that was found.
    pub fn first(&self) -> Option<&str> {
        self.texts.first().map(String::as_str)
    }

    /// Returns the texts. If there are more objects than texts, a last text has their number and
    /// says that they lie in `place`.
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
