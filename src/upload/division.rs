//! How an object is divided into the parts of an upload. Pure.
//!
//! Invariant: the parts lie in the object without a gap and without an overlap, none is larger than S3 takes, and none but the last is
//! smaller. Source: the user guide of Amazon S3, "Amazon S3 multipart upload limits".

/// The least bytes of a part that is not the last.
pub const MIN_PART: u64 = 5 << 20;
/// The most bytes of a part.
pub const MAX_PART: u64 = 5 << 30;
/// The most parts of an upload.
pub const MAX_PARTS: u32 = 10_000;
/// The most bytes of an object.
pub const MAX_OBJECT: u64 = 5 << 40;
/// The part size to begin with where the request names none: smaller parts cost more requests, larger ones more to repeat.
const USUAL_PART: u64 = 8 << 20;

/// An object, divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// The object's bytes, if they are known.
    size: Option<u64>,
    /// The bytes of every part but the last, if they are known.
    part_size: Option<u64>,
    /// The most that a part's number may be.
    count: u32,
    /// Whether there are so many parts, rather than so many at most.
    counted: bool,
}

/// Where a part lies in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, if that is known.
    pub offset: Option<u64>,
    /// Its bytes, if they are known.
    pub length: Option<u64>,
}

/// S3 takes no such parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Indivisible {
    /// There is nothing to divide.
    #[error("is 0: an empty object takes one PutObject")]
    Empty,
    /// The object is too large.
    #[error(
        "of {0} bytes is above 5 TiB (5497558138880 bytes), which is the most that S3 takes as one object"
    )]
    ObjectTooLarge(u64),
    /// There are too many parts.
    #[error("is not from 1 to 10000, which is the most that S3 takes")]
    Count,
    /// The parts are too small.
    #[error(
        "of {0} bytes is below 5 MiB (5242880 bytes), which is the least that S3 takes for a part that is not the last: give more, or leave it out"
    )]
    PartTooSmall(u64),
    /// The parts are too large.
    #[error(
        "of {0} bytes is above 5 GiB (5368709120 bytes), which is the most that S3 takes as one part: give less, or leave it out"
    )]
    PartTooLarge(u64),
    /// The object comes to too many parts.
    #[error(
        "of {part_size} bytes makes {parts} parts of the object, and S3 takes 10000: give at least {least}, or leave it out"
    )]
    TooManyParts {
        /// What was asked for.
        part_size: u64,
        /// How many they would be.
        parts: u64,
        /// What would do.
        least: u64,
    },
    /// The parts together would be more than an object.
    #[error(
        "of {part_size} bytes and part_count of {count} come to more than 5 TiB, which is the most that S3 takes as one object"
    )]
    TogetherTooLarge {
        /// What was asked for.
        part_size: u64,
        /// How many of them.
        count: u32,
    },
}

impl Indivisible {
    /// The field that is wrong.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Empty | Self::ObjectTooLarge(_) => "size",
            Self::Count => "part_count",
            Self::PartTooSmall(_)
            | Self::PartTooLarge(_)
            | Self::TooManyParts { .. }
            | Self::TogetherTooLarge { .. } => "part_size",
        }
    }
}

impl Division {
    /// An object of so many bytes in parts of this size, or of one that fits.
    ///
    /// # Errors
    /// If S3 takes no such parts.
    pub fn of_size(size: u64, part_size: Option<u64>) -> Result<Self, Indivisible> {
        match size {
            0 => return Err(Indivisible::Empty),
            1..=MAX_OBJECT => {}
            _ => return Err(Indivisible::ObjectTooLarge(size)),
        }
        let part_size = match part_size {
            Some(part_size) => within_limits(part_size)?,
            None => fitting(size),
        };
        let parts = size.div_ceil(part_size);
        let count = u32::try_from(parts).ok().filter(|n| *n <= MAX_PARTS);
        let count = count.ok_or(Indivisible::TooManyParts {
            part_size,
            parts,
            least: size.div_ceil(MAX_PARTS.into()).max(MIN_PART),
        })?;
        Ok(Self {
            size: Some(size),
            part_size: Some(part_size),
            count,
            counted: true,
        })
    }

    /// So many parts of this size, the last perhaps smaller; without a size, as the client makes them.
    ///
    /// # Errors
    /// If S3 takes no such parts.
    pub fn of_count(count: u32, part_size: Option<u64>) -> Result<Self, Indivisible> {
        if !(1..=MAX_PARTS).contains(&count) {
            return Err(Indivisible::Count);
        }
        let part_size = part_size.map(within_limits).transpose()?;
        if let Some(part_size) = part_size
            // All but the last, of which a byte will do.
            && part_size * u64::from(count - 1) >= MAX_OBJECT
        {
            return Err(Indivisible::TogetherTooLarge { part_size, count });
        }
        Ok(Self {
            size: None,
            part_size,
            count,
            counted: true,
        })
    }

    /// Parts of this size, of which it is not known how many there are.
    ///
    /// # Errors
    /// If S3 takes no such parts.
    pub fn open(part_size: Option<u64>) -> Result<Self, Indivisible> {
        Ok(Self {
            size: None,
            part_size: part_size.map(within_limits).transpose()?,
            count: MAX_PARTS,
            counted: false,
        })
    }

    /// The object's bytes, if they are known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The bytes of every part but the last, if they are known.
    #[must_use]
    pub fn part_size(&self) -> Option<u64> {
        self.part_size
    }

    /// How many parts there are, at most.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Where the part of this number lies, counted from 1.
    #[must_use]
    pub fn extent(&self, number: u32) -> Extent {
        let before = u64::from(number.saturating_sub(1));
        let offset = self.part_size.map(|part_size| part_size * before);
        let length = match (self.size, self.part_size, offset) {
            (Some(size), Some(part_size), Some(offset)) => {
                Some(part_size.min(size.saturating_sub(offset)))
            }
            // The last may be smaller, and which one is the last is known where they are counted.
            (None, Some(part_size), _) if self.counted && number < self.count => Some(part_size),
            _ => None,
        };
        Extent { offset, length }
    }
}

fn within_limits(part_size: u64) -> Result<u64, Indivisible> {
    match part_size {
        ..MIN_PART => Err(Indivisible::PartTooSmall(part_size)),
        MIN_PART..=MAX_PART => Ok(part_size),
        _ => Err(Indivisible::PartTooLarge(part_size)),
    }
}

/// The least of 8 MiB, 16 MiB, 32 MiB and so on with which the object has no more parts than S3 takes.
fn fitting(size: u64) -> u64 {
    let mut part_size = USUAL_PART;
    while size.div_ceil(part_size) > MAX_PARTS.into() {
        part_size *= 2;
    }
    part_size
}

/// The numbers of a page that begins with `first` and ends with `last` or before, and where the next begins.
#[must_use]
pub fn page(first: u32, last: u32, most: u32) -> (Vec<u32>, Option<u32>) {
    let end = last.min(first.saturating_add(most).saturating_sub(1));
    let numbers = match most {
        0 => Vec::new(),
        _ => (first..=end).collect(),
    };
    let next = match most {
        0 => first,
        _ => end + 1,
    };
    (numbers, (next <= last).then_some(next))
}

/// The numbers as text, those that follow one another together: `3,7-9`.
#[must_use]
pub fn runs(numbers: &[u32]) -> String {
    let mut text = String::new();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let comma = if text.is_empty() { "" } else { "," };
            text += &if first == last {
                format!("{comma}{first}")
            } else {
                format!("{comma}{first}-{last}")
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    #[test]
    fn part_sizes_rise_in_round_steps() {
        for (size, part_size, count) in [
            (1, 8 * MIB, 1),
            (8 * MIB, 8 * MIB, 1),
            (8 * MIB + 1, 8 * MIB, 2),
            (GIB, 8 * MIB, 128),
            (80_000 * MIB, 8 * MIB, 10_000),
            (80_000 * MIB + 1, 16 * MIB, 5_001),
            (TIB, 128 * MIB, 8_192),
            (5 * TIB, GIB, 5_120),
        ] {
            let division = Division::of_size(size, None).unwrap();
            assert_eq!(division.part_size(), Some(part_size), "{size}");
            assert_eq!(division.count(), count, "{size}");
        }
    }

    #[test]
    fn what_s3_does_not_take_is_told_with_its_field_and_a_fix() {
        let sized = Division::of_size;
        let counted = Division::of_count;
        for (refused, field, words) in [
            (sized(0, None), "size", "PutObject"),
            (sized(5 * TIB + 1, None), "size", "5 TiB"),
            (sized(u64::MAX, Some(u64::MAX)), "size", "5 TiB"),
            (sized(GIB, Some(5 * MIB - 1)), "part_size", "5 MiB"),
            (sized(GIB, Some(5 * GIB + 1)), "part_size", "5 GiB"),
            (sized(GIB, Some(u64::MAX)), "part_size", "5 GiB"),
            (
                sized(5 * TIB, Some(512 * MIB)),
                "part_size",
                "makes 10240 parts of the object, and S3 takes 10000: give at least 549755814,",
            ),
            (counted(0, None), "part_count", "10000"),
            (counted(10_001, None), "part_count", "10000"),
            (counted(1, Some(1)), "part_size", "5 MiB"),
            (counted(10_000, Some(5 * GIB)), "part_size", "5 TiB"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.field(), field, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(sized(5 * TIB, Some(549_755_814)).is_ok());
        assert!(sized(5 * TIB, Some(5 * GIB)).is_ok());
        assert_eq!(sized(1, Some(5 * GIB)).unwrap().count(), 1);
    }

    #[test]
    fn of_parts_that_are_only_counted_the_last_is_open() {
        let division = Division::of_count(3, Some(6 * MIB)).unwrap();
        let extent = |offset, length| Extent { offset, length };
        assert_eq!(division.extent(1), extent(Some(0), Some(6 * MIB)));
        assert_eq!(division.extent(2), extent(Some(6 * MIB), Some(6 * MIB)));
        assert_eq!(division.extent(3), extent(Some(12 * MIB), None));
        let division = Division::of_count(3, None).unwrap();
        assert_eq!(division.extent(2), extent(None, None));
        let division = Division::open(Some(6 * MIB)).unwrap();
        assert_eq!(division.extent(3), extent(Some(12 * MIB), None));
        assert!(Division::open(Some(1)).is_err());
    }

    #[test]
    fn pages_end_where_they_have_to() {
        let all: Vec<u32> = (1..=1000).collect();
        assert_eq!(page(1, 10_000, 1000), (all, Some(1001)));
        assert_eq!(page(9_999, 10_000, 1000), (vec![9_999, 10_000], None));
        assert_eq!(page(3, 4, 1), (vec![3], Some(4)));
        assert_eq!(page(4, 4, 1), (vec![4], None));
        assert_eq!(page(1, 5, 0), (vec![], Some(1)));
        assert_eq!(page(6, 5, 10), (vec![], None));
    }

    #[test]
    fn numbers_that_follow_one_another_are_told_together() {
        for (numbers, text) in [
            (&[][..], ""),
            (&[3], "3"),
            (&[1, 2, 3], "1-3"),
            (&[3, 7, 8, 9, 2], "3,7-9,2"),
            (&[5, 5, 6], "5,5-6"),
        ] {
            assert_eq!(runs(numbers), text);
        }
    }

    fn sizes() -> impl Strategy<Value = u64> {
        prop_oneof![
            1..=MAX_OBJECT,
            (0..=40_u32).prop_map(|power| 1 << power),
            (1..=u64::from(MAX_PARTS), MIN_PART..=MAX_PART)
                .prop_map(|(parts, part)| (parts * part).min(MAX_OBJECT)),
        ]
    }

    proptest! {
        #[test]
        fn parts_tile_the_object_and_keep_to_the_limits(
            size in sizes(),
            part_size in proptest::option::of(MIN_PART..=MAX_PART),
        ) {
            let Ok(division) = Division::of_size(size, part_size) else {
                // Only parts that were asked for can be too small for the object.
                let part_size = part_size.expect("what presignd chooses fits");
                prop_assert!(size.div_ceil(part_size) > 10_000);
                return Ok(());
            };
            prop_assert!((1..=MAX_PARTS).contains(&division.count()));
            if let Some(part_size) = part_size {
                prop_assert_eq!(division.part_size(), Some(part_size));
            }
            let mut end = 0;
            for number in 1..=division.count() {
                let extent = division.extent(number);
                let length = extent.length.expect("it is known");
                prop_assert_eq!(extent.offset, Some(end));
                prop_assert!(length <= MAX_PART && length > 0);
                prop_assert!(length >= MIN_PART || number == division.count());
                end += length;
            }
            prop_assert_eq!(end, size);
        }

        #[test]
        fn pages_go_through_all_parts_once(last in 1..=MAX_PARTS, most in 1..=1000_u32) {
            let (mut next, mut seen) = (Some(1), Vec::new());
            while let Some(first) = next {
                let (numbers, then) = page(first, last, most);
                prop_assert!(!numbers.is_empty() && numbers.len() <= most as usize);
                seen.extend(numbers);
                next = then;
            }
            prop_assert!(seen.into_iter().eq(1..=last));
        }
    }
}
