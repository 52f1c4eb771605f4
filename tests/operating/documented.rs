//! The page for whoever is on call: each of its commands, run as it stands there, says what stands below it.

use std::fs;
use std::time::SystemTime;

use serde_json::Value;

use super::{BOSS, Operated};
use crate::harness::tools;

const PAGE: &str = "docs/operations.md";
const SETTINGS: &str = "limits: [{ name: all, rate: 100/h, burst: 100 }]
deny: [{ commands: [write, delete], resources: [\"acme-files/archive/*\"] }]
";

/// The commands of a page, each with what it says.
fn commands(page: &str) -> Vec<(&str, &str)> {
    let blocks = page.split("```console\n$ ").skip(1);
    let blocks = blocks.map(|block| block.split_once("\n```").expect("it ends").0);
    blocks
        .map(|block| block.split_once('\n').expect("a command, and what it says"))
        .collect()
}

/// Without what is otherwise each time.
fn timeless(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let ("uptime" | "reset" | "version", Value::String(text)) =
                    (&**name, &mut *member)
                {
                    name.clone_into(text);
                }
                timeless(member);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(timeless),
        Value::String(text) => {
            let time: Result<jiff::Timestamp, _> = text.parse();
            if let Ok(time) = time {
                assert!(SystemTime::try_from(time).is_ok());
                "time".clone_into(text);
            }
        }
        _ => {}
    }
}

fn read(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    timeless(&mut value);
    value
}

#[tokio::test]
async fn every_command_of_the_page_says_what_it_says_there() {
    let over = Operated::start_with("state: { dir: state }\n", SETTINGS).await;
    for _ in 0..3 {
        over.presign("acme").await.unwrap();
    }
    let page = fs::read_to_string(tools::repository().join(PAGE)).unwrap();
    let commands = commands(&page);
    assert_eq!(commands.len(), 10);
    let (_, key) = over.keys.iter().find(|(name, _)| *name == BOSS).unwrap();
    let surroundings = format!(
        "export PRESIGND={} KEY={key}; ",
        over.process.address().await
    );
    let own = over.file("state/orders.json").display().to_string();
    for (command, said) in commands {
        let output = tools::bash(&(surroundings.clone() + command)).await;
        assert!(output.status.success(), "{command}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        // There, the folder has a name of the kind that operators give.
        let text = text.replace(&own, "/var/lib/presignd/orders.json");
        assert_eq!(read(&text), read(said), "{command}\n{text}");
    }
}
