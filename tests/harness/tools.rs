//! The programs that `scripts/install-tools` puts into `.tools/bin`. One that is missing fails the test.

use std::path::{Path, PathBuf};

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

#[test]
fn every_tool_runs() {
    for name in ["grpcurl", "buf", "helm"] {
        let output = std::process::Command::new(tool(name))
            .arg("--help")
            .output()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(output.status.success(), "{name}: {output:?}");
    }
}
