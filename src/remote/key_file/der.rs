//! The PEM formats: as much DER (X.690) as it takes to tell which kind of key it is.

use super::{Algorithm, Armour, DSA, Parts, Refusal};

const CUT: Refusal = Refusal::Malformed("the private key is cut off or damaged");

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]`, around the curve of RFC 5915.
const PARAMETERS: u8 = 0xa0;

// Object identifiers as DER has them: RFC 3279, RFC 5480, RFC 8410.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const DSS: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// Takes an element of this kind off the front.
fn element<'a>(rest: &mut &'a [u8], kind: u8) -> Result<&'a [u8], Refusal> {
    let [first, len, after @ ..] = *rest else { return Err(CUT) };
    if *first != kind {
        return Err(CUT);
    }
    let (len, after) = match *len {
        short @ ..=0x7f => (usize::from(short), after),
        // A file has at most 1 MiB: three bytes of length say it.
        long @ 0x81..=0x83 => {
            let (digits, after) = after.split_at_checked(usize::from(long & 0x7f)).ok_or(CUT)?;
            (digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)), after)
        }
        _ => return Err(CUT),
    };
    let (content, after) = after.split_at_checked(len).ok_or(CUT)?;
    *rest = after;
    Ok(content)
}

fn curve(oid: &[u8]) -> Result<Algorithm, Refusal> {
    match oid {
        P256 => Ok(Algorithm::EcdsaNistp256),
        P384 => Ok(Algorithm::EcdsaNistp384),
        P521 => Ok(Algorithm::EcdsaNistp521),
        _ => Err(Refusal::Unsupported("an ECDSA key on a curve that SSH does not have")),
    }
}

/// The decoded block, where it can be looked into.
fn plain<T>(
    armour: &Armour<'_>,
    look: impl FnOnce(&mut &[u8]) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    let decoded = armour.decoded()?;
    if armour.encrypted() {
        return Ok(None);
    }
    look(&mut element(&mut decoded.expose(), SEQUENCE)?).map(Some)
}

fn parts(encrypted: bool, algorithm: Option<Algorithm>) -> Parts {
    Parts { encrypted, algorithm, ..Parts::default() }
}

/// `RSA PRIVATE KEY`: version, n, e, d, ...
pub(super) fn pkcs1(armour: &Armour<'_>) -> Result<Parts, Refusal> {
    plain(armour, |key| (0..4).try_for_each(|_| element(key, INTEGER).map(drop)))?;
    Ok(parts(armour.encrypted(), Some(Algorithm::Rsa)))
}

/// `EC PRIVATE KEY`: version, the private key, [0] the curve.
pub(super) fn sec1(armour: &Armour<'_>) -> Result<Parts, Refusal> {
    let algorithm = plain(armour, |key| {
        element(key, INTEGER)?;
        element(key, OCTETS)?;
        let mut parameters = element(key, PARAMETERS)?;
        curve(element(&mut parameters, OID)?)
    })?;
    Ok(parts(armour.encrypted(), algorithm))
}

/// `PRIVATE KEY`: version, { the algorithm, its parameters }, the private key.
pub(super) fn pkcs8(armour: &Armour<'_>) -> Result<Parts, Refusal> {
    let algorithm = plain(armour, |key| {
        element(key, INTEGER)?;
        let mut identifier = element(key, SEQUENCE)?;
        element(key, OCTETS)?;
        match element(&mut identifier, OID)? {
            RSA => Ok(Algorithm::Rsa),
            ED25519 => Ok(Algorithm::Ed25519),
            EC => curve(element(&mut identifier, OID)?),
            DSS => Err(Refusal::Unsupported(DSA)),
            _ => Err(Refusal::Unsupported("a kind of key that SSH does not have")),
        }
    })?;
    Ok(parts(armour.encrypted(), algorithm))
}
