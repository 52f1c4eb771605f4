//! The programs that `scripts/install-tools` puts into `.tools/bin`. One that is missing fails the test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository's root, whatever the working directory.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path of `grpcurl`, `buf` or `helm`.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = repository().join(".tools/bin").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run scripts/install-tools, or all tests with scripts/test",
        path.display()
    );
    path
}

/// Runs a script as someone would who pastes it into a terminal, with the tools in their `PATH`, for a minute at most.
pub(crate) async fn bash(script: &str) -> Output {
    let mut path = OsString::from(repository().join(".tools/bin"));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    run(Command::new("timeout")
        .args(["60", "bash", "-c", script])
        .env("PATH", path))
    .await
}

/// Runs `grpcurl`, for a minute at most.
pub(crate) async fn grpcurl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    run(Command::new(tool("grpcurl"))
        .args(["-plaintext", "-max-time", "60"])
        .args(arguments))
    .await
}

/// Runs `curl`, for a minute at most.
pub(crate) async fn curl(arguments: impl IntoIterator<Item = OsString>) -> Output {
    run(Command::new("curl")
        .args(["-sS", "--max-time", "60"])
        .args(arguments))
    .await
}

/// Runs a script of Python's in the pinned environment, with this file as its argument.
pub(crate) async fn python(script: &str, file: &Path) -> Output {
    let python = repository().join(".tools/venv/bin/python");
    assert!(
        python.is_file(),
        "{} is missing: run scripts/install-tools",
        python.display()
    );
    run(Command::new("timeout")
        .arg("60")
        .arg(python)
        .args(["-B", "-c", script])
        .arg(file))
    .await
}

/// Runs a script of Node's with the pinned packages, with this file as its argument.
pub(crate) async fn node(script: &str, file: &Path) -> Output {
    let packages = repository().join(".tools/npm/node_modules");
    assert!(
        packages.join("@aws-sdk/s3-presigned-post").is_dir(),
        "@aws-sdk/s3-presigned-post is missing in {}: run scripts/install-tools",
        packages.display()
    );
    run(Command::new("timeout")
        .args(["60", "node", "-e", script])
        .arg(file)
        .env("NODE_PATH", packages))
    .await
}

/// Runs a program to its end, out of the way of what else the test does.
async fn run(command: &mut Command) -> Output {
    let child = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    tokio::task::spawn_blocking(move || child.wait_with_output())
        .await
        .expect("no panic")
        .expect("its pipes are readable")
}

#[test]
fn every_tool_runs() {
    for name in ["grpcurl", "buf", "helm"] {
        let output = Command::new(tool(name))
            .arg("--help")
            .output()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(output.status.success(), "{name}: {output:?}");
    }
}
