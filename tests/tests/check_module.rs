// SPDX-License-Identifier: GPL-2.0-only

//! The check of a built module finds each planted fault, and accepts the same code without it.
//!
//! The code is assembled here. An architecture whose assembler and objdump are not installed is
//! skipped; TCPSTAT_REQUIRE_ASSEMBLERS=1 makes that a failure.

use std::fs;
use std::path::Path;
use std::process::Command;

use tcpstat_tests::ko::{self, Config, Module};

/// Assembles `code`, or gives nothing if the machine cannot.
fn assemble(machine: &str, code: &str) -> Option<Module> {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("x.s"), folder.path().join("x.o"));
    fs::write(&source, code).unwrap();
    let cross = format!("{machine}-linux-gnu-");
    let native = (machine == std::env::consts::ARCH).then_some(String::new());
    for prefix in [Some(cross), native].into_iter().flatten() {
        let has = |tool: &str| {
            let tool = Command::new(format!("{prefix}{tool}"))
                .arg("--version")
                .output();
            tool.is_ok_and(|output| output.status.success())
        };
        if has("as") && has("objdump") {
            let output = Command::new(format!("{prefix}as"))
                .args(["-o".as_ref(), object.as_os_str(), source.as_os_str()])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{code}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            return Some(Module::read(&object).unwrap());
        }
    }
    assert!(
        std::env::var_os("TCPSTAT_REQUIRE_ASSEMBLERS").is_none(),
        "there is no assembler and objdump for {machine}"
    );
    eprintln!("skipped: this machine has no assembler and objdump for {machine}");
    None
}

/// A function of this name and code in `.text`.
fn function(name: &str, code: &str) -> String {
    format!(
        ".text\n.type {name}, %function\n{name}:\n{code}\n.size {name}, . - {name}\n",
        code = code.replace("; ", "\n")
    )
}

/// Asserts that code has one violation of the configuration with all of `words` in it, or none if
/// there are no words.
#[track_caller]
fn assert_found(machine: &str, config: &str, code: &str, words: &[&str]) {
    let Some(module) = assemble(machine, code) else {
        return;
    };
    let found = ko::code_violations(&module, &Config::parse(config));
    if words.is_empty() {
        assert!(found.is_empty(), "{code}\n{found:#?}");
        return;
    }
    assert_eq!(found.len(), 1, "{code}\n{found:#?}");
    for word in words {
        assert!(found[0].contains(word), "{}: {word} is not in it", found[0]);
    }
}

/// Asserts that `bad` is found where the configuration asks for something else, and nowhere else;
/// and that `good` is accepted.
#[track_caller]
fn assert_asked(machine: &str, config: &str, bad: &str, good: &str, words: &[&str]) {
    assert_found(machine, config, bad, words);
    assert_found(machine, "", bad, &[]);
    assert_found(machine, config, good, &[]);
}

#[track_caller]
fn x86(config: &str, bad: &str, good: &str, words: &[&str]) {
    assert_asked("x86_64", config, bad, good, words);
}

#[track_caller]
fn arm64(config: &str, bad: &str, good: &str, words: &[&str]) {
    assert_asked("aarch64", config, bad, good, words);
}

/// Asserts that code is found whatever the configuration is.
#[track_caller]
fn always(machine: &str, code: &str, words: &[&str]) {
    assert_found(machine, "", &function("foo", code), words);
}

/// A table of places, as objtool makes it.
fn table(name: &str, places: &[&str]) -> String {
    let entries: Vec<_> = places.iter().map(|p| format!(".long {p} - .\n")).collect();
    format!(".section {name}, \"a\"\n{}", entries.concat())
}

#[test]
fn indirect_branches_have_retpolines() {
    let sites = table(".retpoline_sites", &["foo + 0"]);
    for option in ["CONFIG_RETPOLINE=y", "CONFIG_MITIGATION_RETPOLINE=y"] {
        for branch in [
            "call *%rax",
            "jmp *%r11",
            "jmp *8(%rdi)",
            "notrack jmp *%rax",
        ] {
            x86(
                option,
                &function("foo", branch),
                &(function("foo", "call __x86_indirect_thunk_r11; int3") + &sites),
                &["foo ", "retpoline", "*"],
            );
        }
    }
    // The kernel would not patch this one.
    assert_found(
        "x86_64",
        "CONFIG_RETPOLINE=y",
        &(function("foo", "nop; jmp __x86_indirect_thunk_r11; int3") + &sites),
        &[".retpoline_sites lacks foo+0x1"],
    );
}

#[test]
fn returns_have_thunks() {
    let sites = table(".return_sites", &["foo + 1"]);
    let good = function("foo", "nop; jmp __x86_return_thunk");
    for option in ["CONFIG_RETHUNK=y", "CONFIG_MITIGATION_RETHUNK=y"] {
        x86(
            option,
            &function("foo", "nop; ret"),
            &(good.clone() + &sites),
            &["foo+0x1 ", "return thunk"],
        );
        assert_found("x86_64", option, &good, &[".return_sites lacks foo+0x1"]);
    }
}

#[test]
fn straight_lines_end_in_traps() {
    for option in ["CONFIG_SLS=y", "CONFIG_MITIGATION_SLS=y"] {
        for end in ["ret", "jmp *%rax"] {
            x86(
                option,
                &function("foo", &format!("{end}; nop")),
                &function("foo", &format!("{end}; int3")),
                &["no int3", "foo "],
            );
        }
        assert_found("x86_64", option, &function("foo", "ret"), &["no int3"]);
    }
}

#[test]
fn direct_calls_are_listed_for_call_thunks() {
    let code = function("foo", "call bar; nop");
    x86(
        "CONFIG_CALL_THUNKS=y",
        &code,
        &(code.clone() + &table(".call_sites", &["foo"])),
        &[".call_sites lacks foo"],
    );
}

#[test]
fn functions_whose_address_is_taken_begin_with_endbr64() {
    let option = "CONFIG_X86_KERNEL_IBT=y";
    for pointer in [
        ".data\n.quad foo\n".to_owned(),
        function("bar", "lea foo(%rip), %rax"),
        ".globl foo\n".to_owned() + &function("bar", "lea foo(%rip), %rax"),
        function("bar", "mov $foo, %rdi"),
        function("bar", "movq $foo, 8(%rdi)"),
        ".section .rodata, \"a\"\n.long foo - .\n".to_owned(),
    ] {
        x86(
            option,
            &(function("foo", "nop; nop") + &pointer),
            &(function("foo", "endbr64; nop") + &pointer),
            &["foo is taken", "endbr64"],
        );
        // The kernel would overwrite it.
        assert_found(
            "x86_64",
            option,
            &(function("foo", "endbr64") + &pointer + &table(".ibt_endbr_seal", &["foo"])),
            &["foo is taken", "removed"],
        );
    }
    // A call takes no address, nor do the lists for the kernel.
    let called = function("foo", "nop") + &function("bar", "call foo");
    assert_found("x86_64", option, &called, &[]);
    let listed = function("foo", "nop") + &table("__mcount_loc", &["foo"]);
    assert_found("x86_64", option, &listed, &[]);
    // What is not taken is sealed.
    let sealed = function("foo", "endbr64") + &table(".ibt_endbr_seal", &["foo"]);
    assert_found("x86_64", option, &sealed, &[]);
    assert_found(
        "x86_64",
        option,
        &function("foo", "endbr64"),
        &["foo keeps"],
    );
    // It may know where it is itself.
    let here = function("foo", "nop; here: lea here(%rip), %rdi; movq $here, %rsi");
    assert_found("x86_64", option, &here, &[]);
    // The middle of a function is no place to jump to.
    assert_found(
        "x86_64",
        option,
        &(function("foo", "endbr64; nop") + ".data\n.quad foo, foo + 4\n"),
        &["foo+0x4 is taken"],
    );
}

#[test]
fn functions_are_padded_for_calls() {
    let option = "CONFIG_CALL_PADDING=y\nCONFIG_FUNCTION_PADDING_BYTES=16\n";
    let padded = |padding: &str| format!(".text\n{padding}\n{}", function("foo", "ret"));
    let good = padded(".nops 16");
    for bad in ["", ".nops 15", ".rept 16; int3; .endr", ".nops 15; int3"] {
        let bad = padded(&bad.replace("; ", "\n"));
        x86(option, &bad, &good, &["before foo", "16 bytes"]);
    }
    // A function of Rust, local, and beside another.
    let second = good.clone() + &function("_RNvC3bar3foo", "ret");
    x86(option, &second, &good, &["before _RNvC3bar3foo"]);
    let part = good.clone() + &function("foo.cold", "ret");
    assert_found("x86_64", option, &part, &[]);
}

#[test]
fn frames_are_chained_on_x86() {
    let call = "call bar; pop %rbp; ret";
    for bad in ["", "push %rbp; ", "mov %rsp, %rbp; "] {
        x86(
            "CONFIG_FRAME_POINTER=y",
            &function("foo", &format!("{bad}{call}")),
            &function(
                "foo",
                &format!("call __fentry__; push %rbp; mov %rsp, %rbp; {call}"),
            ),
            &["foo ", "frame"],
        );
    }
}

#[test]
fn objtool_has_run() {
    let tables = ".section .orc_unwind, \"a\"\n.long 1\n.section .orc_unwind_ip, \"a\"\n.long 1\n";
    let half = ".section .orc_unwind, \"a\"\n.long 1\n.section .orc_unwind_ip, \"a\"\n";
    x86("CONFIG_UNWINDER_ORC=y", half, tables, &[".orc_unwind_ip"]);
}

#[test]
fn frames_are_small() {
    let option = "CONFIG_FRAME_WARN=2048";
    let good = function("foo", "sub $2048, %rsp");
    x86(
        option,
        &function("foo", "sub $2056, %rsp"),
        &good,
        &["foo ", "2056"],
    );
    let good = function("foo", "sub sp, sp, #2048");
    for bad in ["sub sp, sp, #2064", "sub sp, sp, #1, lsl #12"] {
        arm64(option, &function("foo", bad), &good, &["foo ", "bytes"]);
    }
}

#[test]
fn floats_and_vectors_are_not_used() {
    for code in [
        "movaps %xmm0, %xmm1",
        "vpxor %ymm0, %ymm0, %ymm0",
        "movq %rax, %mm0",
        "fld1",
        "fldl (%rdi)",
        "cvtsi2sd %rax, %xmm3",
        "vmovdqu64 (%rdi), %zmm17",
    ] {
        always("x86_64", code, &["foo ", "register of floating point"]);
    }
    always("x86_64", ".byte 0x06", &["foo is no instruction"]);
    for code in [
        "ldr q0, [x0]",
        "fmov d0, x0",
        "stp d8, d9, [sp, #16]",
        "add v0.4s, v1.4s, v2.4s",
        "ldr b31, [x1]",
        "cnt v0.8b, v0.8b",
    ] {
        always("aarch64", code, &["foo ", "register of floating point"]);
    }
    // These are none.
    let plain = "mov x0, x1; b 0xd4; mrs x0, sp_el0; prfm pldl1keep, [x0]; dmb ishld";
    always("aarch64", plain, &[]);
    always("x86_64", "mov %rax, %rbx; lock xadd %eax, (%rdi)", &[]);
}

#[test]
fn nothing_is_below_the_stack() {
    for code in [
        "mov %rax, -8(%rsp)",
        "movl $1, -0x7c(%rsp)",
        "push %rbp; mov %rsp, %rbp; mov %rax, -8(%rbp)",
        "push %rbp; mov %rsp, %rbp; sub $16, %rsp; mov -24(%rbp), %rax",
    ] {
        always("x86_64", code, &["foo", "red zone", "-0x"]);
    }
    always(
        "x86_64",
        "push %rbp; mov %rsp, %rbp; push %rbx; sub $16, %rsp; mov -24(%rbp), %rax; \
         lea -8(%rsp), %rsp; mov %rax, 8(%rsp)",
        &[],
    );
    always("aarch64", "str x0, [sp, #-16]", &["foo ", "red zone"]);
    always("aarch64", "str x0, [sp, #-16]!; str x0, [sp, #8]", &[]);
}

#[test]
fn unknown_relocations_are_found() {
    for (machine, code) in [
        ("x86_64", "mov foo@GOTPCREL(%rip), %rax"),
        ("x86_64", "movabs $foo@GOTOFF, %rax"),
        ("aarch64", "adrp x0, :got:bar"),
        ("aarch64", "ldr x0, [x0, #:tprel_lo12:bar]"),
    ] {
        always(
            machine,
            code,
            &["relocation at foo", "loader does not know"],
        );
    }
    // Debug information is not loaded.
    let debug = ".section .debug_info\n.long foo@GOTPCREL\n";
    assert_found("x86_64", "", debug, &[]);
}

#[test]
fn functions_whose_address_is_taken_begin_with_bti() {
    let option = "CONFIG_ARM64_BTI_KERNEL=y";
    for pointer in [
        ".data\n.xword foo\n".to_owned(),
        function("bar", "adrp x0, foo; add x0, x0, :lo12:foo"),
        function("bar", "adr x0, foo"),
        ".globl foo\n".to_owned() + &function("bar", "adr x0, foo"),
    ] {
        for good in ["hint #34; nop", "hint #38; nop", "hint #25; nop"] {
            arm64(
                option,
                &(function("foo", "nop; hint #34") + &pointer),
                &(function("foo", good) + &pointer),
                &["foo is taken", "bti c"],
            );
        }
    }
    let called = format!(
        ".globl foo\n{}{}",
        function("foo", "nop"),
        function("bar", "bl foo")
    );
    assert_found("aarch64", option, &called, &[]);
}

#[test]
fn return_addresses_are_signed() {
    let option = "CONFIG_ARM64_PTR_AUTH_KERNEL=y";
    let code = |sign: &str, check: &str| {
        function(
            "foo",
            &format!(
                "{sign}stp x29, x30, [sp, #-16]!; bl bar; ldp x29, x30, [sp], #16; {check}ret"
            ),
        )
    };
    let good = code("hint #25; ", "hint #29; ");
    arm64(
        option,
        &code("", "hint #29; "),
        &good,
        &["foo ", "no paciasp"],
    );
    arm64(
        option,
        &code("hint #25; ", ""),
        &good,
        &["foo+0x10 ", "no autiasp"],
    );
    // A function that calls none need not, and a part of one has been signed by the whole.
    assert_found("aarch64", option, &function("foo", "mov x0, x1; ret"), &[]);
    let part = function("foo.cold", "str x30, [sp, #8]; b foo");
    assert_found("aarch64", option, &part, &[]);
}

#[test]
fn the_shadow_call_stack_is_used_and_kept() {
    let option = "CONFIG_SHADOW_CALL_STACK=y";
    let code = |push: &str, pop: &str| {
        function(
            "foo",
            &format!("{push}stp x29, x30, [sp, #-16]!; bl bar; ldp x29, x30, [sp], #16; {pop}ret"),
        )
    };
    let (push, pop) = ("str x30, [x18], #8; ", "ldr x30, [x18, #-8]!; ");
    for bad in [code(push, ""), code("", pop)] {
        arm64(
            option,
            &bad,
            &code(push, pop),
            &["foo", "shadow call stack"],
        );
    }
    // A part that never returns.
    let stuck = function(
        "foo",
        &format!("ret; {push}stp x29, x30, [sp, #-16]!; bl bar"),
    );
    assert_found("aarch64", option, &stuck, &[]);
    for bad in [
        "mov x18, x0",
        "add w1, w18, #1",
        "str x18, [sp, #8]",
        "ldr x0, [x18]",
    ] {
        let bad = function("foo", bad);
        arm64(
            option,
            &bad,
            &function("foo", "mov x17, x0"),
            &["foo ", "x18"],
        );
        assert_found(
            "aarch64",
            "CONFIG_SHADOW_CALL_STACK=y\nCONFIG_DYNAMIC_SCS=y\nCONFIG_UNWIND_TABLES=y\n",
            &bad.replace("foo:\n", "foo:\n.cfi_startproc\n")
                .replace(".size", ".cfi_endproc\n.size"),
            &["foo ", "x18"],
        );
    }
}

#[test]
fn frames_are_chained_on_arm64() {
    let code = |frame: &str| function("foo", &format!("{frame}bl bar; ret"));
    let good = code("stp x29, x30, [sp, #-16]!; mov x29, sp; ");
    for bad in ["", "str x30, [sp, #-16]!; ", "stp x29, x30, [sp, #-16]!; "] {
        arm64(
            "CONFIG_FRAME_POINTER=y",
            &code(bad),
            &good,
            &["foo ", "frame"],
        );
    }
    assert_found(
        "aarch64",
        "CONFIG_FRAME_POINTER=y",
        &function("foo", "ret"),
        &[],
    );
}

/// A function that signs and authenticates, with the unwind table of the second if `told`.
fn signing(told: bool) -> String {
    let told = if told { ".cfi_negate_ra_state; " } else { "" };
    function(
        "foo",
        &format!(
            ".cfi_startproc; hint #25; .cfi_negate_ra_state; stp x29, x30, [sp, #-16]!; \
             .cfi_def_cfa_offset 16; .cfi_offset 29, -16; .cfi_offset 30, -8; bl bar; \
             ldp x29, x30, [sp], #16; .cfi_restore 29; .cfi_restore 30; hint #29; {told}ret; \
             .cfi_endproc"
        ),
    )
}

#[test]
fn unwind_tables_are_there_exactly_if_asked_for() {
    let option = "CONFIG_UNWIND_TABLES=y";
    let with = function("foo", ".cfi_startproc; nop; .cfi_endproc");
    let without = function("foo", "nop");
    for machine in ["x86_64", "aarch64"] {
        assert_found(machine, "", &with, &[".eh_frame", "not set"]);
        assert_found(machine, "", &without, &[]);
        assert_found(machine, option, &with, &[]);
        assert_found(machine, option, &without, &["foo has no unwind table"]);
    }
}

#[test]
fn the_dynamic_shadow_call_stack_finds_what_it_patches() {
    let option = "CONFIG_UNWIND_TABLES=y\nCONFIG_SHADOW_CALL_STACK=y\nCONFIG_DYNAMIC_SCS=y\n";
    assert_found("aarch64", option, &signing(true), &[]);
    let missing = ["do not say that foo+0x10 signs"];
    assert_found("aarch64", option, &signing(false), &missing);
    // Compilers may not use these.
    let personality = function(
        "foo",
        ".cfi_startproc; .cfi_personality 0x1b, bar; nop; .cfi_endproc",
    );
    assert_found(
        "aarch64",
        option,
        &personality,
        &["does not know the header"],
    );
    let expression = function(
        "foo",
        ".cfi_startproc; nop; .cfi_escape 0x0f, 0; nop; .cfi_endproc",
    );
    assert_found(
        "aarch64",
        option,
        &expression,
        &["does not know an operation"],
    );
    assert_found("aarch64", option, "nop", &["no unwind tables"]);
}

#[test]
fn imports_have_versions() {
    for name in ["__versions", "__version_ext_crcs"] {
        x86(
            "CONFIG_MODVERSIONS=y",
            &format!(".section {name}, \"a\"\n"),
            &format!(".section {name}, \"a\"\n.quad 1\n"),
            &["versions"],
        );
    }
}

/// A kernel tree with this configuration.
fn tree(config: &str) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let file = tree.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("include/config/auto.conf", config);
    write(
        "include/generated/utsrelease.h",
        "#define UTS_RELEASE \"6.12.1-test\"\n",
    );
    tree
}

/// What is wrong with a module for x86 that has only this; `None` if it cannot be assembled here.
fn whole(code: &str, tree: &Path) -> Option<Vec<String>> {
    assemble("x86_64", "nop")?;
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("x.s"), folder.path().join("tcpstat.ko"));
    fs::write(&source, code).unwrap();
    let cross = Command::new("x86_64-linux-gnu-as")
        .arg("--version")
        .output();
    let assembler = if cross.is_ok() {
        "x86_64-linux-gnu-as"
    } else {
        "as"
    };
    let output = Command::new(assembler)
        .args(["-o".as_ref(), object.as_os_str(), source.as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(ko::violations(&object, tree).unwrap())
}

#[test]
fn what_modinfo_prints_is_that_of_the_kernel() {
    let information = |retpoline: &str, release: &str| {
        format!(
            ".section .modinfo, \"a\"\n.asciz \"license=GPL v2\"\n.asciz \"name=tcpstat\"\n\
             .asciz \"vermagic={release} SMP mod_unload\"\n{retpoline}"
        )
    };
    let retpoline = ".asciz \"retpoline=Y\"\n";
    let tree = tree("CONFIG_RETPOLINE=y");
    let Some(found) = whole(&information(retpoline, "6.12.1-test"), tree.path()) else {
        return;
    };
    let about = |found: &[String]| found.iter().filter(|s| s.contains("modinfo has")).count();
    assert_eq!(about(&found), 0, "{found:#?}");
    for (bad, word) in [
        (information("", "6.12.1-test"), "retpoline"),
        (information(retpoline, "6.12.10-test"), "vermagic"),
        (
            information(retpoline, "6.12.1-test") + ".asciz \"license=GPL\"\n",
            "license",
        ),
    ] {
        let found = whole(&bad, tree.path()).unwrap();
        assert_eq!(about(&found), 1, "{found:#?}");
        assert!(
            found
                .iter()
                .any(|s| s.contains("modinfo has") && s.contains(word))
        );
    }
}

#[test]
fn imports_are_those_of_the_list() {
    let tree = tree("CONFIG_RETHUNK=y\nCONFIG_RETPOLINE=y\n");
    // Its name says that the module has its own Rust.
    let own = function(
        "tcpstat_own_init",
        "call __rust_alloc; call _RNvC3foo3bar; call memcpy",
    );
    let Some(found) = whole(&own, tree.path()) else {
        return;
    };
    let has = |found: &[String], words: &str| found.iter().any(|s| s.contains(words));
    assert!(has(&found, "it imports __rust_alloc,"), "{found:#?}");
    assert!(has(&found, "it imports _RNvC3foo3bar,"), "{found:#?}");
    assert!(has(&found, "does not import proc_remove,"), "{found:#?}");
    assert!(
        has(&found, "does not import __x86_return_thunk,"),
        "{found:#?}"
    );
    assert!(has(&found, "does not import kvfree,"), "{found:#?}");
    assert!(
        has(&found, "does not import __x86_indirect_thunk_*,"),
        "{found:#?}"
    );
    assert!(!has(&found, "memcpy"), "{found:#?}");
    assert!(!has(&found, "rt_spin_lock"), "{found:#?}");
    // With the kernel's Rust, Rust's symbols are no concern of the list.
    let kernel = function("foo", "call _RNvC3foo3bar; call strcpy");
    let found = whole(&kernel, tree.path()).unwrap();
    assert!(has(&found, "it imports strcpy,"), "{found:#?}");
    assert!(!has(&found, "_RNvC3foo3bar"), "{found:#?}");
    assert!(!has(&found, "__x86_indirect_thunk"), "{found:#?}");
}

#[test]
fn no_symbol_of_rust_is_global() {
    let tree = tree("");
    let global = |names: &[&str]| -> String {
        let global = |name: &&str| format!(".globl {name}\n{}", function(name, "nop"));
        names.iter().map(global).collect()
    };
    let good = ["tcpstat_own_init", "init_module", "__pfx_init_module"];
    let Some(found) = whole(&global(&good), tree.path()) else {
        return;
    };
    let about = |found: &[String]| found.iter().filter(|s| s.contains("is global")).count();
    assert_eq!(about(&found), 0, "{found:#?}");
    for bad in ["_RNvC3foo3bar", "rust_begin_unwind", "memcpy"] {
        let found = whole(&global(&["tcpstat_own_init", bad]), tree.path()).unwrap();
        assert_eq!(about(&found), 1, "{found:#?}");
    }
}

#[test]
fn types_are_there_if_the_tree_has_those_of_the_kernel() {
    let tree = tree("CONFIG_DEBUG_INFO_BTF_MODULES=y");
    let about = |code: &str| Some(whole(code, tree.path())?.iter().any(|s| s.contains(".BTF")));
    let Some(without) = about("nop") else {
        return;
    };
    assert!(!without);
    fs::write(tree.path().join("vmlinux"), "").unwrap();
    assert_eq!(about("nop"), Some(true));
    assert_eq!(about(".section .BTF, \"a\"\n.long 1\n"), Some(false));
}

#[test]
fn warnings_of_the_build_are_found() {
    let log = "  LD [M]  tcpstat.o\n\
        tcpstat.o: warning: objtool: foo+0x10: unreachable instruction\n\
        WARNING: modpost: missing MODULE_LICENSE() in tcpstat.o\n\
        warning: the compiler differs from the one used to build the kernel\n";
    let found = ko::warnings(log);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("objtool") && found[1].contains("modpost"));
}
