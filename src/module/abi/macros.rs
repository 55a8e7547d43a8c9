//! The macro that makes of the table the exported functions, the three lists and the metadata that
//! tests loop over.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys::{CK_BBOOL, CK_NOTIFY, CK_RV, CK_ULONG, CKR_GENERAL_ERROR, CKR_OK};

use crate::error::Result;

/// Where every call comes in and goes out: panics stop here, and a failure is logged once.
pub(super) fn enter(name: &'static str, body: impl FnOnce() -> Result<()>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {
            log::trace!("{name}: CKR_OK");
            CKR_OK
        }
        Ok(Err(error)) => {
            log::debug!("{name}: {}", error.name());
            error.rv()
        }
        Err(payload) => {
            // Dropping it could panic once more.
            std::mem::forget(payload);
            log::error!("{name}: stopped by a defect in this library");
            CKR_GENERAL_ERROR
        }
    }
}

/// A function of the table, for those who go through all of them.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its C name.
    pub name: &'static str,
    /// The names of its parameters.
    pub parameters: &'static [&'static str],
    /// Calls it with this number as first argument, if that is a number, and with NULL and 0 for
    /// everything else.
    ///
    /// # Safety
    /// None beyond that of calling into the module: every function has to withstand this.
    pub call: unsafe fn(CK_ULONG) -> CK_RV,
}

/// A value that every function has to withstand, for [`Function::call`].
pub(super) trait Probe {
    /// `first` if it is still there and this is a number, else NULL or 0.
    fn probe(first: &mut Option<CK_ULONG>) -> Self;
}

impl Probe for CK_ULONG {
    fn probe(first: &mut Option<CK_ULONG>) -> Self {
        first.take().unwrap_or(0)
    }
}

impl Probe for CK_BBOOL {
    fn probe(first: &mut Option<CK_ULONG>) -> Self {
        first.take();
        0
    }
}

impl Probe for CK_NOTIFY {
    fn probe(_: &mut Option<CK_ULONG>) -> Self {
        None
    }
}

impl<T> Probe for *mut T {
    fn probe(first: &mut Option<CK_ULONG>) -> Self {
        first.take();
        std::ptr::null_mut()
    }
}

macro_rules! cryptoki {
    (
        v2_40 {
            $($f:ident($($a:ident: $t:ty),*) $(in $l:ident)? $(on $s:ident($h:ident))? => $b:expr;)*
        }
        v3_0 {
            $($g:ident($($c:ident: $u:ty),*) $(in $m:ident)? $(on $r:ident($i:ident))? => $d:expr;)*
        }
        v3_2 {
            $($k:ident($($e:ident: $v:ty),*) $(in $n:ident)? $(on $q:ident($j:ident))? => $w:expr;)*
        }
    ) => {
        $(cryptoki!(@function $f($($a: $t),*) [$($l)?] [$($s $h)?] $b);)*
        $(cryptoki!(@function $g($($c: $u),*) [$($m)?] [$($r $i)?] $d);)*
        $(cryptoki!(@function $k($($e: $v),*) [$($n)?] [$($q $j)?] $w);)*

        // The exported C_GetInfo is that of the newest list. The older lists are filled like it, and
        // then get the C_GetInfo that tells their own version.

        /// What C_GetFunctionList returns.
        pub static LIST_2_40: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            C_GetInfo: Some(info_of::<{ V2_40.major }, { V2_40.minor }>),
            ..CK_FUNCTION_LIST { version: V2_40, $($f: Some($f),)* }
        };

        /// The list of 3.0 and 3.1.
        pub static LIST_3_0: CK_FUNCTION_LIST_3_0 = CK_FUNCTION_LIST_3_0 {
            C_GetInfo: Some(info_of::<{ V3_0.major }, { V3_0.minor }>),
            ..CK_FUNCTION_LIST_3_0 { version: V3_0, $($f: Some($f),)* $($g: Some($g),)* }
        };

        /// The list of 3.2.
        pub static LIST_3_2: CK_FUNCTION_LIST_3_2 = CK_FUNCTION_LIST_3_2 {
            version: V3_2, $($f: Some($f),)* $($g: Some($g),)* $($k: Some($k),)*
        };

        /// All functions, in the order of the lists.
        pub static FUNCTIONS: &[Function] = &[
            $(cryptoki!(@metadata $f($($a: $t),*)),)*
            $(cryptoki!(@metadata $g($($c: $u),*)),)*
            $(cryptoki!(@metadata $k($($e: $v),*)),)*
        ];
    };
    (@function $f:ident($($a:ident: $t:ty),*) [$($l:ident)?] [$($s:ident $h:ident)?] $b:expr) => {
        #[doc = concat!("`", stringify!($f), "`, a function of PKCS#11 3.2, chapter 5.")]
        ///
        /// # Safety
        /// Each pointer is NULL or valid for the length that the function's parameters give it.
        #[allow(non_snake_case, unused_variables, clippy::too_many_arguments)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $f($($a: $t),*) -> CK_RV {
            $crate::abi::macros::enter(stringify!($f), || {
                $(let $l = $crate::library::current()?;)?
                $(let $s = $crate::library::current()?.session($h)?;)?
                // SAFETY: the caller promises what PKCS#11 asks of these arguments; `ptr` checks
                // what can be checked.
                #[allow(unused_unsafe)]
                unsafe { $b }
            })
        }
    };
    (@metadata $f:ident($($a:ident: $t:ty),*)) => {
        $crate::abi::macros::Function {
            name: stringify!($f),
            parameters: &[$(stringify!($a)),*],
            call: {
                unsafe fn call(first: CK_ULONG) -> CK_RV {
                    let mut first = Some(first);
                    // SAFETY: NULL and 0 are values that every function has to withstand.
                    unsafe { $f($(<$t as $crate::abi::macros::Probe>::probe(&mut first)),*) }
                }
                call
            },
        }
    };
}
