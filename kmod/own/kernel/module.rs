// SPDX-License-Identifier: GPL-2.0-only

//! The module: its start, its end, and what `modinfo` prints.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

/// The module itself (`THIS_MODULE`), which this module has no use for.
pub struct ThisModule(());

#[doc(hidden)]
pub static THIS_MODULE: ThisModule = ThisModule(());

/// A module. The value is dropped when the module is unloaded.
pub trait Module: Sized + Sync + Send {
    /// Called when the module is loaded; it is not loaded if this fails.
    fn init(module: &'static ThisModule) -> crate::error::Result<Self>;
}

/// Declares the module: the type that implements [`Module`], and the fields for `modinfo`.
///
/// `own.c` has the functions that the kernel calls, which call the two that this defines.
#[macro_export]
macro_rules! module {
    (
        type: $type:ident,
        name: $name:literal,
        authors: [$($author:literal),+ $(,)?],
        description: $description:literal,
        license: $license:literal $(,)?
    ) => {
        $($crate::modinfo!("author", $author);)+
        $crate::modinfo!("description", $description);
        $crate::modinfo!("license", $license);

        mod __module {
            use ::core::cell::UnsafeCell;
            use ::core::mem::MaybeUninit;

            use $crate::ffi::c_int;

            struct State(UnsafeCell<MaybeUninit<super::$type>>);

            // SAFETY: Only the two functions below use it, which the kernel calls one after the
            // other.
            unsafe impl Sync for State {}

            static STATE: State = State(UnsafeCell::new(MaybeUninit::uninit()));

            /// Called once, when the module is loaded: 0, or a negative errno.
            #[no_mangle]
            extern "C" fn tcpstat_own_init() -> c_int {
                match <super::$type as $crate::Module>::init(&$crate::module::THIS_MODULE) {
                    Ok(state) => {
                        // SAFETY: The kernel calls this once, before `tcpstat_own_exit`.
                        unsafe { (*STATE.0.get()).write(state) };
                        0
                    }
                    Err(error) => error.to_errno(),
                }
            }

            /// Called once, when the module is unloaded.
            #[no_mangle]
            extern "C" fn tcpstat_own_exit() {
                // SAFETY: The kernel calls this once, after `tcpstat_own_init` has succeeded.
                unsafe { (*STATE.0.get()).assume_init_drop() };
            }
        }
    };
}

/// An entry of the section `.modinfo`.
#[doc(hidden)]
#[macro_export]
macro_rules! modinfo {
    ($key:literal, $value:literal) => {
        const _: () = {
            const TEXT: &str = ::core::concat!($key, "=", $value, "\0");
            #[link_section = ".modinfo"]
            // Not `used(linker)`, which newer compilers take for `used`: that makes a second
            // section of the same name, in which modpost does not look for the licence.
            #[used(compiler)]
            static ENTRY: [u8; TEXT.len()] = *TEXT.as_bytes().first_chunk().unwrap();
        };
    };
}
