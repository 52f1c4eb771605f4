//! The slots of a Cluster, of which each key has one.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>

use ::redis::{Arg, Cmd};

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of what is between its first braces, if there is something.
pub(super) fn of_key(key: &[u8]) -> u16 {
    crc(tag(key).unwrap_or(key)) % SLOTS
}

/// The slot of the first key of a command, of those that are sent from here. `None`: it has none.
pub(super) fn of_command(command: &Cmd) -> Option<u16> {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(word) => word,
        _ => &[],
    });
    let key = match words.next()? {
        b"EVALSHA" | b"EVAL" => words.nth(2),
        b"PING" | b"PUBLISH" | b"CLUSTER" => None,
        _ => words.next(),
    };
    key.map(of_key)
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let rest = &key[open + 1..];
    let close = rest.iter().position(|byte| *byte == b'}')?;
    (close > 0).then(|| &rest[..close])
}

/// CRC-16/XMODEM.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_of_the_specification() {
        assert_eq!(crc(b"123456789"), 0x31c3);
        for (key, slot) in [
            ("foo", 12_182),
            ("bar", 5061),
            ("{foo}:x", 12_182),
            ("presignd:{foo}:urls:{bar}:ns", 12_182),
        ] {
            assert_eq!(of_key(key.as_bytes()), slot, "{key}");
        }
        // Nothing between the first braces, or no end: the whole key.
        for key in ["{}{foo}", "{foo"] {
            assert_eq!(of_key(key.as_bytes()), crc(key.as_bytes()) % SLOTS, "{key}");
        }
    }

    #[test]
    fn commands_are_in_the_slot_of_their_first_key() {
        let slot = |words: &[&str]| {
            let mut command = ::redis::cmd(words[0]);
            for word in &words[1..] {
                command.arg(*word);
            }
            of_command(&command)
        };
        for (words, expected) in [
            (&["HGETALL", "foo"][..], Some(12_182)),
            (&["EVALSHA", "bar", "2", "foo", "bar"], Some(12_182)),
            (&["EVAL", "return 1", "1", "bar"], Some(5061)),
            (&["PUBLISH", "foo", ""], None),
            (&["PING"], None),
        ] {
            assert_eq!(slot(words), expected, "{words:?}");
        }
    }
}
