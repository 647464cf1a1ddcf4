// SPDX-License-Identifier: GPL-2.0-only

//! A kernel tree that cannot build the module is refused in one sentence, before anything is
//! compiled.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A tree that could build the module, built by a compiler of that version.
fn complete_tree(rustc: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    write(tree.path(), "Makefile", "");
    write(
        tree.path(),
        "include/config/auto.conf",
        &format!("CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT=\"{rustc}\"\n"),
    );
    for file in ["libkernel.rmeta", "libcore.rmeta", "libmacros.so"] {
        write(tree.path(), &format!("rust/{file}"), "");
    }
    // Tools that print these versions, whatever is installed.
    tool(tree.path(), "rustc", "rustc 1.85.1 (test)");
    tool(tree.path(), "bindgen", "bindgen 0.71.1");
    tree
}

fn write(tree: &Path, file: &str, text: &str) {
    let path = tree.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn tool(tree: &Path, name: &str, version: &str) {
    write(tree, name, &format!("#!/bin/sh\necho '{version}'\n"));
    fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the check. Gives whether it accepts the tree, and what it prints.
fn check(tree: &Path) -> (bool, String) {
    let output = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../scripts/check-kernel-tree"
    ))
    .arg(tree)
    .env("RUSTC", tree.join("rustc"))
    .env("BINDGEN", tree.join("bindgen"))
    .output()
    .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Asserts that the tree is refused in one line that has all of `words`.
#[track_caller]
fn assert_refused(tree: &Path, words: &[&str]) {
    let (accepted, said) = check(tree);
    assert!(!accepted, "the tree was accepted");
    assert_eq!(said.lines().count(), 1, "not one line: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn a_complete_tree_is_accepted_in_silence() {
    let tree = complete_tree("rustc 1.85.1 (test)");
    assert_eq!(check(tree.path()), (true, String::new()));
}

#[test]
fn a_missing_tree() {
    let tree = complete_tree("rustc 1.85.1 (test)");
    assert_refused(
        &tree.path().join("nowhere"),
        &["no kernel tree at", "header package", "KDIR"],
    );
}

#[test]
fn a_tree_that_is_not_prepared() {
    let tree = complete_tree("rustc 1.85.1 (test)");
    fs::remove_dir_all(tree.path().join("include")).unwrap();
    assert_refused(tree.path(), &["auto.conf", "modules_prepare"]);
}

#[test]
fn a_kernel_without_rust() {
    let tree = complete_tree("rustc 1.85.1 (test)");
    write(
        tree.path(),
        "include/config/auto.conf",
        "CONFIG_MODULES=y\n",
    );
    assert_refused(tree.path(), &["CONFIG_RUST"]);
}

#[test]
fn no_metadata_of_the_kernels_crates() {
    for file in ["libkernel.rmeta", "libcore.rmeta", "libmacros.so"] {
        let tree = complete_tree("rustc 1.85.1 (test)");
        fs::remove_file(tree.path().join("rust").join(file)).unwrap();
        assert_refused(
            tree.path(),
            &[file, "linux-lib-rust", "make module KERNEL="],
        );
    }
}

#[test]
fn another_rustc() {
    let tree = complete_tree("rustc 1.84.0 (other)");
    assert_refused(
        tree.path(),
        &["rustc 1.84.0 (other)", "rustc 1.85.1 (test)", "RUSTC="],
    );
}

#[test]
fn no_rustc() {
    let tree = complete_tree("rustc 1.85.1 (test)");
    fs::remove_file(tree.path().join("rustc")).unwrap();
    assert_refused(
        tree.path(),
        &["there is no", "rustc 1.85.1 (test)", "RUSTC="],
    );
}

#[test]
fn no_bindgen() {
    let tree = complete_tree("rustc 1.85.1 (test)");
    fs::remove_file(tree.path().join("bindgen")).unwrap();
    assert_refused(tree.path(), &["bindgen", "install it"]);
}
