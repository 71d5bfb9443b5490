//! The postcard encoding of scalars.

use serde::Serialize;

use crate::message::shape::model::Scalar;

/// Appends the postcard encoding of a scalar.
pub(super) fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Postcard fails only where its output does, and a vector takes everything.
    if let Ok(longer) = postcard::to_extend(value, std::mem::take(out)) {
        *out = longer;
    }
}

/// Appends an integer that is known in either way or in both; `None` if it does not fit.
pub(super) fn write_integer(
    out: &mut Vec<u8>,
    scalar: Scalar,
    signed: Option<i128>,
    unsigned: Option<u128>,
) -> Option<()> {
    macro_rules! fitting {
        ($($scalar:ident $kind:ty,)*) => {
            match scalar {
                $(Scalar::$scalar => {
                    let fits = signed.and_then(|n| <$kind>::try_from(n).ok());
                    put(out, &fits.or_else(|| unsigned.and_then(|n| <$kind>::try_from(n).ok()))?);
                })*
                _ => return None,
            }
        };
    }
    fitting! { U8 u8, U16 u16, U32 u32, U64 u64, U128 u128, I8 i8, I16 i16, I32 i32, I64 i64, I128 i128, }
    Some(())
}

pub(super) fn is_integer(scalar: Scalar) -> bool {
    use Scalar::*;
    matches!(scalar, U8 | U16 | U32 | U64 | U128 | I8 | I16 | I32 | I64 | I128)
}
