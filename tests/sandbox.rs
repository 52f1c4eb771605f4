//! `presignd dev` as a newcomer meets it: what it prints works when pasted, and nothing of it stays behind.

use std::path::Path;

use crate::harness::process::{Process, Start, presignd};
use crate::harness::tools::bash;

/// On free ports.
const DEV: [&str; 5] = ["dev", "--grpc", "127.0.0.1:0", "--s3", "127.0.0.1:0"];

/// The last words of the welcome.
const END_OF_WELCOME: &str = "Ctrl-C stops the sandbox";

/// What the sandbox prints, once it is ready.
async fn welcome(sandbox: &Process) -> String {
    sandbox.stderr_line(END_OF_WELCOME).await;
    sandbox.stderr()
}

/// The commands under the first heading that starts so: the indented paragraph that follows it.
fn commands<'a>(welcome: &'a str, heading: &str) -> &'a str {
    let mut paragraphs = welcome.split("\n\n");
    paragraphs
        .find(|paragraph| paragraph.starts_with(heading))
        .unwrap_or_else(|| panic!("no {heading:?} in\n{welcome}"));
    let commands = paragraphs.next().expect("commands follow a heading");
    assert!(
        commands.lines().all(|line| line.starts_with("  ")),
        "commands are indented:\n{commands}"
    );
    commands
}

/// Runs printed commands as they stand, after those that define what they use.
async fn paste(welcome: &str, headings: &[&str]) -> String {
    let mut script = String::new();
    for heading in headings {
        script += commands(welcome, heading);
        script.push('\n');
    }
    let output = bash(&script).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    assert_eq!(said, "", "{script}");
    String::from_utf8(output.stdout).expect("text")
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn in_folder(temporary: &Path) -> Start {
    presignd(DEV).env("TMPDIR", temporary)
}

#[tokio::test]
async fn the_printed_commands_upload_and_download() {
    let sandbox = presignd(DEV).start();
    let welcome = welcome(&sandbox).await;
    assert!(welcome.contains("SANDBOX"), "{welcome}");
    let downloaded = paste(&welcome, &["To try it", "Upload as acme"]).await;
    assert_eq!(downloaded, "hello from acme\n");

    let ended = sandbox.terminated().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let records: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record is JSON"))
        .collect();
    let facts = |field: &str| -> Vec<String> {
        let texts = records.iter().map(|record| record[field].as_str());
        texts.map(|text| text.expect("a text").to_owned()).collect()
    };
    assert_eq!(facts("command"), ["PutObject", "GetObject"]);
    assert_eq!(facts("outcome"), ["issued", "issued"]);
    assert_eq!(facts("reason"), ["a first try", "a first try"]);
}

#[tokio::test]
async fn the_printed_reach_for_the_other_tenant_is_signed_and_refused_by_s3() {
    let sandbox = presignd(DEV).start();
    let welcome = welcome(&sandbox).await;
    let answer = paste(&welcome, &["To try it", "Reach for the other tenant"]).await;
    assert!(answer.contains("<Code>AccessDenied</Code>"), "{answer}");
    let record = sandbox.stdout_line("globex-files").await;
    let record: serde_json::Value = serde_json::from_str(&record).expect("a record is JSON");
    assert_eq!(record["outcome"], "issued");
    assert_eq!(record["tenant"], "acme");
}

#[tokio::test]
async fn the_printed_form_uploads_within_its_bounds() {
    let sandbox = presignd(DEV).start();
    let welcome = welcome(&sandbox).await;
    let headings = ["To try it", "Upload by a form"];
    assert_eq!(paste(&welcome, &headings).await, "hello by form\n");

    let script: Vec<_> = headings.map(|heading| commands(&welcome, heading)).into();
    let script = script.join("\n");
    for (changed, to, code) in [
        ("\"max\":1048576", "\"max\":5", "EntityTooLarge"),
        (
            "form-string = ",
            "form-string = \"x-amz-meta-more=1\"\\nform-string = ",
            "AccessDenied",
        ),
        (
            "form-string = \"\\1=\\2\"",
            "form-string = \"\\1=x\\2\"",
            "",
        ),
    ] {
        assert!(script.contains(changed), "{changed}: {script}");
        let refused = script.replace(changed, to).replace("-fsS -K", "-sS -K");
        let output = bash(&refused).await;
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(
            answer.contains("<Error>") && answer.contains(code),
            "{changed}: {answer}"
        );
    }
    let record = sandbox.stdout_line("PresignPost").await;
    let record: serde_json::Value = serde_json::from_str(&record).expect("a record is JSON");
    assert_eq!(record["key"], "forms/hello.txt");
    assert_eq!(
        record["content_length_range"],
        serde_json::json!([1, 1_048_576])
    );
}

#[tokio::test]
async fn the_printed_upload_in_parts_is_begun() {
    let sandbox = presignd(DEV).start();
    let welcome = welcome(&sandbox).await;
    let answer = paste(&welcome, &["Begin an upload in parts"]).await;
    let plan: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert!(plan["uploadId"].is_string(), "{plan:#}");
    assert_eq!(plan["parts"].as_array().map(Vec::len), Some(3), "{plan:#}");
}

#[tokio::test]
async fn the_printed_look_around_describes_the_service() {
    let sandbox = presignd(DEV).start();
    let welcome = welcome(&sandbox).await;
    let described = paste(&welcome, &["Look around"]).await;
    for words in [
        "rpc Presign (",
        "rpc BatchPresign (",
        "rpc PresignPost (",
        "rpc StartMultipartUpload (",
        "rpc PresignParts (",
        "message GetObject {",
    ] {
        assert!(described.contains(words), "no {words:?} in\n{described}");
    }
}

#[tokio::test]
async fn a_given_folder_keeps_its_objects() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("made/here");
    let with_data = || presignd(DEV.into_iter().chain(["--data", data.to_str().unwrap()]));
    let first = with_data().start();
    let text = welcome(&first).await;
    paste(&text, &["To try it", "Upload as acme"]).await;
    assert_eq!(first.terminated().await.code, Some(0));

    let second = with_data().start();
    let text = welcome(&second).await;
    let download = commands(&text, "Upload as acme");
    let (upload, download) = download.trim().split_once('\n').expect("two commands");
    assert!(upload.contains("putObject") && download.contains("getObject"));
    let script = format!("{}\n{download}", commands(&text, "To try it"));
    let output = bash(&script).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello from acme\n");
}

#[tokio::test]
async fn a_temporary_folder_goes_with_the_sandbox() {
    for signal in ["TERM", "INT"] {
        let temporary = tempfile::tempdir().unwrap();
        let sandbox = in_folder(temporary.path()).start();
        let text = welcome(&sandbox).await;
        paste(&text, &["To try it", "Upload as acme"]).await;
        let during = entries(temporary.path());
        assert_eq!(during.len(), 1, "{during:?}");
        assert!(during[0].starts_with("presignd-dev-"), "{during:?}");

        sandbox.signal(signal);
        let ended = sandbox.ended().await;
        assert_eq!(ended.code, Some(0), "SIG{signal}: {ended:?}");
        assert_eq!(entries(temporary.path()), [""; 0], "SIG{signal}");
    }
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    for (flag, address) in [
        ("--grpc", "0.0.0.0:0"),
        ("--s3", "0.0.0.0:0"),
        ("--grpc", "[::]:0"),
        ("--s3", "192.0.2.1:0"),
    ] {
        let ended = presignd(["dev", flag, address]).run().await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout, "");
        for words in [flag, address, "loopback"] {
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn a_port_in_use_names_its_flag() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for (flag, other) in [("--grpc", "--s3"), ("--s3", "--grpc")] {
        let temporary = tempfile::tempdir().unwrap();
        let ended = presignd(["dev", flag, &taken, other, "127.0.0.1:0"])
            .env("TMPDIR", temporary.path())
            .run()
            .await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = ended.stderr;
        assert!(said.contains(flag) && said.contains(&taken), "{said}");
        assert!(
            !said.contains(other) && !said.contains("server.listen"),
            "{said}"
        );
        assert_eq!(entries(temporary.path()), [""; 0], "{flag}");
    }
}
