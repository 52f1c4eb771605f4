//! Who has which slots: what `CLUSTER SLOTS` says.

use ::redis::{Cmd, Value};

use super::dial::Address;
use super::slot::SLOTS;

/// Slots, the last one too, and the master who has them.
pub(super) type Range = (u16, u16, Address);

/// What is asked.
pub(super) fn command() -> Cmd {
    let mut command = ::redis::cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

/// The answer, in order. `asked`: the host that was asked. `None`: it makes no sense, or nobody has any.
pub(super) fn read(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let ranges = array(answer)?
        .iter()
        .map(|range| match array(range)? {
            [Value::Int(first), Value::Int(last), master, ..] => {
                let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < SLOTS);
                let (first, last) = (slot(*first)?, slot(*last)?);
                (first <= last).then_some(())?;
                // Nobody knows where it is: its slots are nobody's.
                Some(address(master, asked).map(|address| (first, last, address)))
            }
            _ => None,
        })
        .collect::<Option<Vec<Option<Range>>>>()?;
    let mut ranges: Vec<Range> = ranges.into_iter().flatten().collect();
    ranges.sort_unstable();
    let apart = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
    (apart && !ranges.is_empty()).then_some(ranges)
}

/// Where a redirection leads, `host:port`. `answered`: the host that said so.
pub(super) fn redirected(to: &str, answered: &str) -> Option<Address> {
    let (host, port) = to.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    named(host, answered).zip(port.parse().ok())
}

fn address(node: &Value, asked: &str) -> Option<Address> {
    let [host, Value::Int(port), ..] = array(node)? else {
        return None;
    };
    let host = match host {
        Value::Nil => "",
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        _ => return None,
    };
    named(host, asked).zip(u16::try_from(*port).ok())
}

/// A host that says nothing is the one that answered; `?` is not known there.
fn named(host: &str, answered: &str) -> Option<String> {
    match host {
        "?" => None,
        "" | "0.0.0.0" | "::" => Some(answered.to_owned()),
        host => Some(host.to_owned()),
    }
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = Value::Array(vec![host, Value::Int(port), Value::Nil]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    fn host(name: &str) -> Value {
        Value::BulkString(name.as_bytes().to_vec())
    }

    #[test]
    fn slots_are_read_in_order_and_hosts_are_found() {
        let answer = Value::Array(vec![
            range(100, 16_383, host(""), 7002),
            range(50, 60, host("?"), 7003),
            range(0, 49, host("a.example"), 7001),
            range(61, 99, Value::Nil, 7004),
        ]);
        let expected = vec![
            (0, 49, ("a.example".to_owned(), 7001)),
            (61, 99, ("asked".to_owned(), 7004)),
            (100, 16_383, ("asked".to_owned(), 7002)),
        ];
        assert_eq!(read(&answer, "asked"), Some(expected));
    }

    #[test]
    fn answers_that_make_no_sense_are_none() {
        for answer in [
            Value::Nil,
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(9, 1, host("a"), 1)]),
            Value::Array(vec![range(0, 16_384, host("a"), 1)]),
            Value::Array(vec![range(-1, 5, host("a"), 1)]),
            Value::Array(vec![range(0, 5, host("a"), 1), range(5, 6, host("b"), 2)]),
            Value::Array(vec![range(0, 1, host("?"), 1)]),
        ] {
            assert_eq!(read(&answer, "asked"), None, "{answer:?}");
        }
    }

    #[test]
    fn redirections_lead_to_hosts_and_ports() {
        let to = |host: &str, port| Some((host.to_owned(), port));
        for (text, expected) in [
            ("10.0.0.1:6379", to("10.0.0.1", 6379)),
            (":6379", to("here", 6379)),
            ("::1:6379", to("::1", 6379)),
            ("[::1]:6379", to("::1", 6379)),
            ("?:6379", None),
            ("nowhere", None),
            ("host:port", None),
        ] {
            assert_eq!(redirected(text, "here"), expected, "{text}");
        }
    }
}
