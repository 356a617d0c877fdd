//! Stand-alone terms: what `term_to_binary` makes and `binary_to_term` takes, with version byte 131
//! and possibly compressed. Inside messages neither is allowed.

use std::borrow::Cow;
use std::io::Read;

use bytes::Bytes;
use flate2::read::ZlibDecoder;

use super::encode::Encoder;
use super::error::{DecodeError, DecodeErrorKind, EncodeError};
use super::limits::Limits;
use super::payload::Payload;
use super::read::Reader;
use super::scratch;
use super::tag;
use super::term::Term;
use super::validate::validate;

/// The term inside a stand-alone blob, without version byte: borrowed, or inflated where it is
/// compressed. Nothing else is checked yet.
///
/// # Errors
/// For another version byte, and for a compressed term that is damaged, is not as large as it says,
/// or is larger than [`Limits::inflated_bytes`]. Never more than the announced size is inflated.
pub fn open_blob<'a>(blob: &'a [u8], limits: &Limits) -> Result<Cow<'a, [u8]>, DecodeError> {
    let mut reader = Reader::new(blob, &[]);
    reader.version()?;
    if reader.peek_tag()? != tag::COMPRESSED {
        return Ok(Cow::Borrowed(reader.rest()));
    }
    let start = reader.offset();
    let invalid = |what| DecodeError::new(start, DecodeErrorKind::Invalid(what));
    reader.u8()?;
    let size = reader.u32()? as usize;
    limits.check("the size of a compressed term", size, limits.inflated_bytes, "inflated_bytes", start)?;
    let mut term = Vec::with_capacity(size.min(AHEAD));
    let mut inflater = ZlibDecoder::new(reader.rest());
    let outcome = (&mut inflater).take(size as u64 + 1).read_to_end(&mut term);
    if outcome.is_err() {
        return Err(invalid("a compressed term is damaged"));
    }
    if term.len() != size {
        return Err(invalid("a compressed term has another size than it says"));
    }
    // The checksum, and what follows it, show only when the end is asked for: `take` did so.
    match reader.rest().len() as u64 - inflater.total_in() {
        0 => Ok(Cow::Owned(term)),
        left => Err(DecodeError::new(blob.len() - left as usize, DecodeErrorKind::TrailingBytes(left as usize))),
    }
}

impl Term {
    /// Reads a stand-alone term, as `binary_to_term` does; compressed ones too.
    ///
    /// # Errors
    /// As [`open_blob`] and [`Term::decode`], and for bytes that are left behind the term.
    pub fn from_binary(blob: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        Payload::from_binary(&Bytes::copy_from_slice(blob), limits)?.term_within(limits)
    }

    /// Writes a stand-alone term, as `term_to_binary` does.
    ///
    /// # Errors
    /// As [`Term::encode`].
    pub fn to_binary(&self) -> Result<Bytes, EncodeError> {
        let write = |encoder: &mut Encoder<'_>| {
            encoder.version();
            self.encode(encoder)
        };
        scratch::encode(write, Bytes::copy_from_slice, |large| large)
    }
}

impl Payload {
    /// A stand-alone term (`term_to_binary`, compressed or not) as a payload, validated. Without
    /// compression it stays a slice of `blob`. The offsets in errors and later reads count from
    /// behind the version byte.
    ///
    /// # Errors
    /// As [`open_blob`] and [`validate`](super::validate()), and for bytes that are left behind the term.
    pub fn from_binary(blob: &Bytes, limits: &Limits) -> Result<Self, DecodeError> {
        let bytes = match open_blob(blob, limits)? {
            Cow::Borrowed(term) => blob.slice_ref(term),
            Cow::Owned(term) => term.into(),
        };
        match bytes.len() - validate(&bytes, 0, limits)? {
            0 => Ok(Self::new(bytes, None)),
            left => Err(DecodeError::new(bytes.len() - left, DecodeErrorKind::TrailingBytes(left))),
        }
    }
}

/// For so much there is room at once when inflating; an announced size alone does not get memory.
const AHEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn compressed(announced: u32, term: &[u8]) -> Vec<u8> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(term).unwrap();
        [&[131, 80][..], &announced.to_be_bytes(), &zlib.finish().unwrap()].concat()
    }

    fn read(blob: &[u8]) -> Result<Term, DecodeError> {
        Term::from_binary(blob, &Limits::default())
    }

    #[test]
    fn a_compressed_term_is_inflated_and_one_inside_another_is_not() {
        let inner = Term::list((0..1000).map(|_| Term::from("again")));
        let bytes = inner.to_binary().unwrap();
        let term = &bytes[1..];
        let blob = compressed(term.len() as u32, term);
        assert!(blob.len() < term.len() / 10);
        assert_eq!(read(&blob), Ok(inner));
        let nested = compressed(blob.len() as u32 - 1, &blob[1..]);
        assert_eq!(read(&nested).unwrap_err().kind, DecodeErrorKind::TagNotAllowed(80));
    }

    #[test]
    fn a_bomb_is_cut_at_the_announced_size() {
        let zeros = vec![0; 4 << 20];
        let mut term = vec![109];
        term.extend(u32::try_from(zeros.len()).unwrap().to_be_bytes());
        term.extend(zeros);
        let lying = compressed(10, &term);
        assert!(
            matches!(read(&lying).unwrap_err().kind, DecodeErrorKind::Invalid(what) if what.contains("another size"))
        );
        let honest = compressed(term.len() as u32, &term);
        assert!(read(&honest).is_ok());
        let small = Limits { inflated_bytes: 1 << 20, ..Limits::default() };
        let error = Term::from_binary(&honest, &small).unwrap_err();
        assert!(matches!(error.kind, DecodeErrorKind::Limit { setting: "inflated_bytes", .. }), "{error}");
    }

    #[test]
    fn damaged_or_followed_blobs_are_refused() {
        let blob = compressed(2, &[97, 1]);
        assert_eq!(read(&blob), Ok(1.into()));
        assert!(read(&[&blob[..], &[0]].concat()).is_err());
        assert!(read(&blob[..blob.len() - 1]).is_err());
        let mut flipped = blob.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(read(&flipped).is_err());
        assert_eq!(read(&[131, 97, 1, 2]).unwrap_err().kind, DecodeErrorKind::TrailingBytes(1));
        assert_eq!(read(&[130, 97, 1]).unwrap_err().kind, DecodeErrorKind::Version(130));
    }
}
