//! Assembles OpenSSL's `ChaCha20` and Poly1305 for x86-64 from its sources as published in the crate `openssl-src`.
//!
//! Only these two files are taken, because they hold the AVX-512 paths that `ring` leaves out (docs/adr/0060). They are
//! written in Perl that prints assembly; where there is no Perl the build goes on without them.

use std::error::Error;

#[allow(clippy::unnecessary_wraps, reason = "without the feature nothing can fail")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_openssl)");
    #[cfg(feature = "fast")]
    openssl::assemble()?;
    Ok(())
}

#[cfg(feature = "fast")]
mod openssl {
    use std::env;
    use std::error::Error;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    const SOURCES: [&str; 2] = ["chacha", "poly1305"];

    /// Every global name in the sources. They get our prefix, so that another OpenSSL in the process never meets them.
    const GLOBALS: [&str; 7] = [
        "ChaCha20_ctr32",
        "poly1305_init",
        "poly1305_blocks",
        "poly1305_emit",
        "xor128_encrypt_n_pad",
        "xor128_decrypt_n_pad",
        "OPENSSL_ia32cap_P",
    ];

    /// The sources choose their path by this word array. Ours is constant, and the code is only called on a CPU that has
    /// it all: SSSE3 and AVX in the second word; AVX2, AVX512F, AVX512IFMA, AVX512BW and AVX512VL in the third.
    const CPU_FEATURES: &str = "
.section .rodata
.balign 16
.globl sideband_OPENSSL_ia32cap_P
.hidden sideband_OPENSSL_ia32cap_P
.type sideband_OPENSSL_ia32cap_P,@object
.size sideband_OPENSSL_ia32cap_P,16
sideband_OPENSSL_ia32cap_P:
.long 0
.long (1<<9)|(1<<28)
.long (1<<5)|(1<<16)|(1<<21)|(1<<30)|(1<<31)
.long 0
";

    /// Without this note a linker makes the stack of the whole process executable.
    const NO_EXECUTABLE_STACK: &str = "\n.section .note.GNU-stack,\"\",@progbits\n";

    pub fn assemble() -> Result<(), Box<dyn Error>> {
        println!("cargo::rerun-if-env-changed=PERL");
        if env::var("CARGO_CFG_TARGET_ARCH")? != "x86_64" || env::var("CARGO_CFG_TARGET_OS")? != "linux" {
            return Ok(());
        }
        let out = env::var("OUT_DIR")?;
        let mut build = cc::Build::new();
        for name in SOURCES {
            let path = Path::new(&out).join(format!("{name}.s"));
            if let Err(reason) = print_assembly(name, &path) {
                println!("cargo::warning=building without the AVX-512 backend, as Perl did not run: {reason}");
                return Ok(());
            }
            let mut text = fs::read_to_string(&path)?;
            for global in GLOBALS {
                text = text.replace(global, &format!("sideband_{global}"));
                if text.contains(&format!(".globl\tsideband_{global}\n")) {
                    text.extend(["\n.hidden sideband_", global, "\n"]);
                }
            }
            if name == "chacha" {
                text.push_str(CPU_FEATURES);
            }
            text.push_str(NO_EXECUTABLE_STACK);
            fs::write(&path, text)?;
            build.file(path);
        }
        build.try_compile("sideband_openssl")?;
        println!("cargo::rustc-cfg=has_openssl");
        Ok(())
    }

    fn print_assembly(name: &str, target: &Path) -> Result<(), Box<dyn Error>> {
        let script = openssl_src::source_dir().join(format!("crypto/{name}/asm/{name}-x86_64.pl"));
        let perl = env::var("PERL").unwrap_or_else(|_| "perl".to_owned());
        let mut command = Command::new(perl);
        command.arg(script).arg("elf").arg(target);
        // The scripts ask the compiler for the assembler's version, and leave AVX-512 out for any but GNU's. Clang's has
        // known these instructions for longer than Rust 1.88 has existed, so they are told a version that knows them.
        command.env("CC", "echo GNU assembler version 2.40");
        let status = command.status()?;
        if status.success() { Ok(()) } else { Err(status.to_string().into()) }
    }
}
