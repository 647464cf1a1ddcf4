// SPDX-License-Identifier: GPL-2.0-only

//! A kernel tree that cannot build the module is refused in one sentence, before anything is
//! compiled; one that can is built with the right Rust and the right arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `rustc --version` prints in these tests.
const RUSTC: &str = "rustc 1.85.1 (test)";

/// What a kernel that can have the module has in its configuration, without Rust.
const CONFIG: &str = "\
CONFIG_X86=y
CONFIG_X86_64=y
CONFIG_64BIT=y
CONFIG_MODULES=y
CONFIG_INET=y
CONFIG_PROC_FS=y
CONFIG_OBJTOOL=y
CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"
CONFIG_GCC_VERSION=120200
";

/// Every file that the build opens in a tree, besides the configuration.
const FILES: [&str; 15] = [
    "Makefile",
    "Module.symvers",
    "include/generated/autoconf.h",
    "include/generated/uapi/linux/version.h",
    "include/generated/utsrelease.h",
    "include/linux/proc_fs.h",
    "include/net/inet_connection_sock.h",
    "include/net/inet_hashtables.h",
    "scripts/Kbuild.include",
    "scripts/Makefile.build",
    "scripts/Makefile.modpost",
    "scripts/basic/fixdep",
    "scripts/mod/modpost",
    "scripts/module.lds",
    "tools/objtool/objtool",
];

/// The metadata of the kernel's Rust crates.
const METADATA: [&str; 3] = [
    "rust/libkernel.rmeta",
    "rust/libcore.rmeta",
    "rust/libmacros.so",
];

/// The sources of the standard library, below rustc's folder.
const LIBRARY: &str = "sysroot/lib/rustlib/src/rust/library/core/src/lib.rs";

/// A kernel tree, and beside it the only tools that the check finds.
struct Tree {
    folder: tempfile::TempDir,
    kdir: PathBuf,
    /// `TCPSTAT_RUST`.
    rust: Option<&'static str>,
}

impl Tree {
    /// Headers of a kernel without Rust, version 6.12 as `LINUX_VERSION_CODE` has it.
    fn headers() -> Self {
        Self::below("tree")
    }

    fn below(kdir: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = Self {
            kdir: folder.path().join(kdir),
            folder,
            rust: None,
        };
        for file in FILES {
            tree.write(file, "");
        }
        tree.write("include/config/auto.conf", CONFIG);
        tree.write("include/config/kernel.release", "6.12.1-test\n");
        tree.version(6, 12);
        tree.tool("gcc-12", "");
        tree.rustc(RUSTC);
        write(&tree.folder.path().join(LIBRARY), "");
        tree
    }

    /// A tree that was prepared from the source of a kernel with Rust, which `rustc` built.
    fn source(rustc: &str) -> Self {
        let tree = Self::headers();
        tree.version(7, 2);
        tree.configure(&format!(
            "{CONFIG}CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT=\"{rustc}\"\n"
        ));
        for file in METADATA {
            tree.write(file, "");
        }
        tree
    }

    fn version(&self, major: u32, minor: u32) {
        self.write(
            "include/generated/uapi/linux/version.h",
            &format!(
                "#define LINUX_VERSION_CODE {}\n",
                (major << 16) | (minor << 8)
            ),
        );
    }

    fn configure(&self, config: &str) {
        self.write("include/config/auto.conf", config);
    }

    fn without_option(&self, option: &str) {
        let line = format!("CONFIG_{option}=y\n");
        assert!(CONFIG.contains(&line));
        self.configure(&CONFIG.replace(&line, ""));
    }

    fn write(&self, file: &str, text: &str) {
        write(&self.kdir.join(file), text);
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.kdir.join(file)).unwrap();
    }

    /// A program that the check finds.
    fn tool(&self, name: &str, script: &str) {
        let path = self.folder.path().join("bin").join(name);
        write(&path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn rustc(&self, version: &str) {
        let sysroot = self.folder.path().join("sysroot");
        self.tool(
            "rustc",
            &format!(
                "case $1 in --version) echo '{version}' ;; *) echo '{}' ;; esac",
                sysroot.display()
            ),
        );
    }

    fn remove_tool(&self, name: &str) {
        fs::remove_file(self.folder.path().join("bin").join(name)).unwrap();
    }

    /// A script, which finds only this tree's compilers: those of the machine are not on its path.
    fn script(&self, name: &str) -> Command {
        let bin = self.folder.path().join("bin");
        for tool in [
            "bash", "cat", "cut", "dirname", "find", "grep", "id", "ln", "make", "mkdir", "sed",
            "sh", "sort", "tr", "uname",
        ] {
            let link = bin.join(tool);
            let program = ["/usr/bin", "/bin"]
                .map(|folder| Path::new(folder).join(tool))
                .into_iter()
                .find(|program| program.exists());
            if let (Some(program), false) = (program, link.exists()) {
                std::os::unix::fs::symlink(program, link).unwrap();
            }
        }
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/");
        let mut command = Command::new(format!("{scripts}{name}"));
        for variable in ["ARCH", "CC", "MAKEFLAGS", "RUSTC", "TCPSTAT_RUST"] {
            command.env_remove(variable);
        }
        command.env("PATH", bin);
        if let Some(rust) = self.rust {
            command.env("TCPSTAT_RUST", rust);
        }
        command
    }

    fn check(&self) -> Output {
        self.script("check-kernel-tree")
            .arg(&self.kdir)
            .output()
            .unwrap()
    }

    /// Builds the modules of `from`, where make prints what it was told. Gives that.
    #[track_caller]
    fn build(&self, from: &Path, out: &Path) -> String {
        let output = self
            .script("build-module")
            .arg("--from")
            .args([from, &self.kdir, out])
            .arg("W=1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asserts that the module is built with that Rust, and that nothing else is said but one line
    /// that has all of `words`, if there are any.
    #[track_caller]
    fn assert_built_with(&self, rust: &str, words: &[&str]) {
        let output = self.check();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "refused: {said}");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{rust}\n")
        );
        if words.is_empty() {
            assert_eq!(said, "");
        } else {
            assert_one_line(&said, "note: ", words);
        }
    }

    /// Asserts that the tree is refused in one line that has all of `words`.
    #[track_caller]
    fn assert_refused(&self, words: &[&str]) {
        let output = self.check();
        assert!(!output.status.success(), "the tree was accepted");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_one_line(&said, "tcpstat: cannot build the module: ", words);
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[track_caller]
fn assert_one_line(said: &str, begin: &str, words: &[&str]) {
    assert_eq!(said.lines().count(), 1, "not one line: {said}");
    assert!(said.starts_with(begin), "{begin:?} does not begin: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// The release of the running kernel.
fn running() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn headers_without_rust_are_built_with_the_modules_own() {
    Tree::headers().assert_built_with("own", &[]);
}

#[test]
fn a_source_of_a_kernel_with_rust_is_built_with_the_kernels() {
    Tree::source(RUSTC).assert_built_with("kernel", &[]);
}

#[test]
fn the_modules_own_rust_can_be_chosen() {
    let mut tree = Tree::source(RUSTC);
    tree.rust = Some("own");
    tree.assert_built_with("own", &[]);
}

#[test]
fn an_option_that_is_not_supported() {
    let mut tree = Tree::source(RUSTC);
    tree.rust = Some("foo");
    tree.assert_refused(&["TCPSTAT_RUST is 'foo'", "kernel", "own"]);
}

#[test]
fn a_missing_tree() {
    let mut tree = Tree::headers();
    tree.kdir = tree.folder.path().join("nowhere");
    tree.assert_refused(&["no kernel tree at", "header package", "KDIR"]);
}

#[test]
fn a_tree_that_is_not_prepared() {
    let tree = Tree::headers();
    tree.remove("include/config/auto.conf");
    tree.assert_refused(&["auto.conf", "modules_prepare"]);
}

#[test]
fn headers_of_another_kernel_than_the_running_one() {
    let place = format!("lib/modules/{}/build", running());
    let tree = Tree::below(&place);
    tree.assert_refused(&["6.12.1-test", &running(), "install the headers"]);
    tree.write("include/config/kernel.release", &running());
    tree.assert_built_with("own", &[]);
    // Not every header package has that file.
    tree.remove("include/config/kernel.release");
    let release = format!("#define UTS_RELEASE \"{}\"\n", running());
    tree.write("include/generated/utsrelease.h", &release);
    tree.assert_built_with("own", &[]);
}

#[test]
fn architectures() {
    let tree = Tree::headers();
    tree.without_option("X86");
    tree.assert_refused(&["neither for x86 nor for arm64"]);
    tree.without_option("64BIT");
    tree.assert_refused(&["32-bit"]);
}

#[test]
fn arm64_on_another_machine_needs_its_compiler() {
    let tree = Tree::headers();
    tree.configure(
        &CONFIG
            .replace("CONFIG_X86=y\nCONFIG_X86_64=y\n", "CONFIG_ARM64=y\n")
            .replace("CONFIG_OBJTOOL=y\n", ""),
    );
    if cfg!(target_arch = "aarch64") {
        tree.assert_built_with("own", &[]);
        return;
    }
    tree.assert_refused(&["no C compiler", "aarch64-linux-gnu-gcc-12"]);
    tree.tool("aarch64-linux-gnu-gcc", "");
    tree.assert_built_with("own", &[]);
}

#[test]
fn options_that_the_module_needs() {
    for option in ["MODULES", "INET", "PROC_FS"] {
        let tree = Tree::headers();
        tree.without_option(option);
        tree.assert_refused(&[&format!("CONFIG_{option}")]);
    }
}

#[test]
fn a_kernel_whose_listening_sockets_are_kept_in_another_way() {
    let tree = Tree::headers();
    tree.write(
        "include/net/inet_connection_sock.h",
        "struct hlist_node icsk_listen_portaddr_node;\n",
    );
    tree.assert_refused(&["too old", "5.19"]);
}

#[test]
fn the_headers_that_the_trees_makefile_includes_are_looked_at() {
    let tree = Tree::headers();
    for file in FILES
        .into_iter()
        .filter(|file| {
            !file.contains("generated") && !file.contains("mod/") && !file.contains("fixdep")
        })
        .filter(|file| file.starts_with("include/") || file.starts_with("scripts/"))
    {
        tree.write(&format!("../common/{file}"), "");
        tree.remove(file);
    }
    tree.write("scripts/module.lds", "");
    tree.write("../common/Makefile", "VERSION = 6\n");
    for place in [
        "../common".to_owned(),
        tree.kdir.join("../common").display().to_string(),
    ] {
        tree.write("Makefile", &format!("include {place}/Makefile\n"));
        tree.write("../common/include/net/inet_connection_sock.h", "");
        tree.assert_built_with("own", &[]);
        tree.write(
            "../common/include/net/inet_connection_sock.h",
            "icsk_listen_portaddr_node",
        );
        tree.assert_refused(&["too old"]);
    }
}

#[test]
fn each_file_that_the_build_opens() {
    for file in FILES {
        let tree = Tree::headers();
        tree.remove(file);
        tree.assert_refused(&[&format!("lacks {file}"), "header package"]);
    }
}

#[test]
fn debian_has_the_linker_script_in_another_place() {
    let tree = Tree::headers();
    tree.remove("scripts/module.lds");
    tree.write("arch/x86/module.lds", "");
    tree.assert_built_with("own", &[]);
}

#[test]
fn a_kernel_without_objtool_needs_none() {
    let tree = Tree::headers();
    tree.remove("tools/objtool/objtool");
    tree.without_option("OBJTOOL");
    tree.assert_built_with("own", &[]);
}

#[test]
fn no_c_compiler() {
    let tree = Tree::headers();
    tree.remove_tool("gcc-12");
    tree.assert_refused(&["no C compiler", "gcc-12", "CC="]);
    tree.tool("gcc", "");
    tree.assert_built_with("own", &[]);
}

#[test]
fn a_c_compiler_that_is_too_old() {
    let tree = Tree::headers();
    tree.remove_tool("gcc-12");
    tree.tool("gcc", "echo 11");
    tree.assert_refused(&[
        "gcc is of version 11",
        "version 12",
        "install gcc-12",
        "CC=",
    ]);
    tree.tool("gcc", "echo 12.3.0");
    tree.assert_built_with("own", &[]);
    tree.tool("gcc", "echo 13");
    tree.assert_built_with("own", &[]);
}

#[test]
fn no_rustc() {
    let tree = Tree::headers();
    tree.remove_tool("rustc");
    tree.assert_refused(&["there is no rustc", "rust-src", "RUSTC="]);
}

#[test]
fn a_rustc_that_is_too_old() {
    let tree = Tree::headers();
    tree.rustc("rustc 1.84.1 (old)");
    tree.assert_refused(&["rustc 1.84.1 (old)", "1.85 or newer", "RUSTC="]);
}

#[test]
fn a_rustc_without_its_sources() {
    let tree = Tree::headers();
    fs::remove_file(tree.folder.path().join(LIBRARY)).unwrap();
    tree.assert_refused(&["rust-src", "rust-web-src", "rustup component add rust-src"]);
}

#[test]
fn a_kernel_that_checks_indirect_calls() {
    for option in ["CFI", "CFI_CLANG"] {
        let tree = Tree::headers();
        tree.configure(&format!("{CONFIG}CONFIG_{option}=y\n"));
        tree.assert_refused(&["CONFIG_CFI", "the kernel's own Rust", "without Rust"]);
    }
}

#[test]
fn what_the_kernels_own_rust_lacks_is_noted() {
    for file in METADATA {
        let tree = Tree::source(RUSTC);
        tree.remove(file);
        tree.assert_built_with("own", &[file, "linux-lib-rust"]);
    }
    let tree = Tree::source("rustc 1.86.0 (other)");
    tree.assert_built_with("own", &[RUSTC, "rustc 1.86.0 (other)"]);
    let tree = Tree::source(RUSTC);
    tree.version(7, 1);
    tree.assert_built_with("own", &["Rust interfaces", "older"]);
}

#[test]
fn what_the_kernels_own_rust_lacks_is_an_error_if_it_was_asked_for() {
    let refused = |mut tree: Tree, words: &[&str]| {
        tree.rust = Some("kernel");
        tree.assert_refused(words);
        tree.assert_refused(&["TCPSTAT_RUST=kernel"]);
    };
    refused(Tree::headers(), &["CONFIG_RUST"]);
    for file in METADATA {
        let tree = Tree::source(RUSTC);
        tree.remove(file);
        refused(tree, &[file]);
    }
    refused(
        Tree::source("rustc 1.86.0 (other)"),
        &[RUSTC, "rustc 1.86.0 (other)"],
    );
    let tree = Tree::source(RUSTC);
    tree.version(7, 1);
    refused(tree, &["Rust interfaces", "older"]);
    let tree = Tree::source(RUSTC);
    tree.remove_tool("rustc");
    refused(tree, &[RUSTC, "missing"]);
}

/// A tree's Makefile that prints what it was told.
const PRINTING: &str = "\
$(info M=$(M) MO=$(MO) CC=$(CC) W=$(W))
$(info TCPSTAT_RUST=$(TCPSTAT_RUST) ARCH=$(ARCH) CROSS_COMPILE=$(CROSS_COMPILE))
modules: ;
";

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn since_linux_6_13_the_output_has_a_folder_of_its_own() {
    let tree = Tree::source(RUSTC);
    tree.write("Makefile", &format!("# KBUILD_EXTMOD_OUTPUT\n{PRINTING}"));
    let from = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    write(&from.path().join("Kbuild"), "");
    let told = tree.build(from.path(), out.path());
    for word in [
        &format!("M={} ", from.path().display()),
        &format!("MO={} ", out.path().display()),
        "CC=gcc-12 W=1",
        "TCPSTAT_RUST=kernel ",
    ] {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
    assert_eq!(files_of(out.path()), [] as [PathBuf; 0]);
}

#[test]
fn before_linux_6_13_the_sources_are_linked_into_the_output() {
    let tree = Tree::headers();
    tree.write("Makefile", PRINTING);
    let from = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    for file in ["Kbuild", "sub/a.c", "sub/b.rs", "sub/left.o"] {
        write(&from.path().join(file), file);
    }
    let told = tree.build(from.path(), out.path());
    assert!(
        told.contains(&format!("M={} MO= ", out.path().display())),
        "{told}"
    );
    assert!(told.contains("TCPSTAT_RUST=own "), "{told}");
    let links = ["Kbuild", "sub/a.c", "sub/b.rs"].map(|file| out.path().join(file));
    assert_eq!(files_of(out.path()), links);
    assert_eq!(fs::read_to_string(&links[1]).unwrap(), "sub/a.c");

    // What was built stays; the link of a source that is gone goes.
    write(&out.path().join("sub/a.o"), "");
    fs::remove_file(from.path().join("sub/a.c")).unwrap();
    tree.build(from.path(), out.path());
    let files = ["Kbuild", "sub/a.o", "sub/b.rs"].map(|file| out.path().join(file));
    assert_eq!(files_of(out.path()), files);
}

#[test]
fn arm64_is_compiled_by_its_own_compiler() {
    if cfg!(target_arch = "aarch64") {
        return;
    }
    let tree = Tree::headers();
    tree.write("Makefile", PRINTING);
    tree.configure(
        &CONFIG
            .replace("CONFIG_X86=y\nCONFIG_X86_64=y\n", "CONFIG_ARM64=y\n")
            .replace("CONFIG_OBJTOOL=y\n", ""),
    );
    tree.tool("aarch64-linux-gnu-gcc-12", "");
    let from = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    write(&from.path().join("Kbuild"), "");
    let told = tree.build(from.path(), out.path());
    for word in [
        "CC=aarch64-linux-gnu-gcc-12 ",
        "ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-\n",
    ] {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
}
