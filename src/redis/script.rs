//! Scripts: sent by their digest, and as a whole where the store does not know it yet.

use redis::Cmd;

use super::{Away, Redis, said};

/// A script in Lua, which answers with whole numbers.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// A script with this text.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        let digest = redis::Script::new(text).get_hash().to_owned();
        Self { text, digest }
    }
}

impl Redis {
    /// Runs a script on keys that share a slot.
    ///
    /// # Errors
    /// If the store is away, or the script failed there.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[f64],
    ) -> Result<Vec<i64>, Away> {
        let known = command("EVALSHA", &script.digest, keys, arguments);
        let answer = match self.answer(&known).await? {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                // Which has the store know it from then on.
                let whole = command("EVAL", script.text, keys, arguments);
                self.answer(&whole).await?
            }
            answer => answer,
        };
        let value = answer.map_err(|error| Away(said(&error)))?;
        redis::from_redis_value(value).map_err(|error| Away(error.to_string()))
    }
}

fn command(name: &str, script: &str, keys: &[String], arguments: &[f64]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys);
    for argument in arguments {
        // The shortest text that reads back as the same number.
        command.arg(argument.to_string());
    }
    command
}
