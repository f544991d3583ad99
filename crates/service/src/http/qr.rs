//! A provisioning URI as a picture: a QR code (ISO/IEC 18004) in a PNG in a `data:` URI, which a
//! browser shows and a scanner reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fast_qr::{ECL, QRBuilder, QRCode};
use zeroize::Zeroizing;

/// The white rim that a scanner needs around the code, in modules (ISO/IEC 18004 §9.1).
const QUIET_ZONE: usize = 4;
/// How many pixels wide and high a module is.
const PIXELS: usize = 6;

/// The text does not fit into the largest QR code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long for a QR code")]
pub(crate) struct TooLong;

/// The QR code of `text`, as secret as the text.
///
/// # Errors
/// [`TooLong`]; about 2,900 bytes fit.
pub(crate) fn data_uri(text: &str) -> Result<Zeroizing<String>, TooLong> {
    // Medium repairs a smudge on a screen; a long text gets by with less.
    let code = [ECL::M, ECL::L]
        .into_iter()
        .find_map(|level| QRBuilder::new(text).ecl(level).build().ok());
    let png = png_of(&code.ok_or(TooLong)?).map_err(|_| TooLong)?;
    let mut uri = Zeroizing::new(String::with_capacity(32 + 2 * png.len()));
    uri.push_str("data:image/png;base64,");
    STANDARD.encode_string(png.as_slice(), &mut uri);
    Ok(uri)
}

/// One bit for each pixel, white where it is set.
fn png_of(code: &QRCode) -> Result<Zeroizing<Vec<u8>>, png::EncodingError> {
    let width = (code.size + 2 * QUIET_ZONE) * PIXELS;
    let row_bytes = width.div_ceil(8);
    let mut pixels = Zeroizing::new(vec![0xff; row_bytes * width]);
    for (y, row) in pixels.chunks_exact_mut(row_bytes).enumerate() {
        for x in (0..width).filter(|x| is_dark(code, *x / PIXELS, y / PIXELS)) {
            row[x / 8] &= !(0x80 >> (x % 8));
        }
    }

    let side = u32::try_from(width).unwrap_or(u32::MAX);
    // More than the pixels ever take: a buffer that grows leaves a copy behind.
    let mut file = Zeroizing::new(Vec::with_capacity(pixels.len() + 4096));
    let mut encoder = png::Encoder::new(&mut *file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(file)
}

/// Whether the module is dark; outside of the code none is.
fn is_dark(code: &QRCode, x: usize, y: usize) -> bool {
    let inside = QUIET_ZONE..QUIET_ZONE + code.size;
    inside.contains(&x) && inside.contains(&y) && code[y - QUIET_ZONE][x - QUIET_ZONE].value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an independent reader finds in the picture.
    fn read(uri: &str) -> String {
        let png = uri.strip_prefix("data:image/png;base64,").unwrap();
        let png = STANDARD.decode(png).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        // One byte for each pixel.
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let side = info.width as usize;
        assert_eq!((info.height as usize, pixels.len()), (side, side * side));
        let mut picture =
            rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| pixels[y * side + x]);
        let grids = picture.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn independent_reader_finds_the_text() {
        let short = "otpauth://totp/Arklow:ada%40example.org?secret=GEZDGNBVGY3TQOJQ";
        // As long as they get, every byte of them encoded: issuer (64 characters of 4 bytes, twice)
        // and address (254 bytes). It takes the lower level.
        let (issuer, email) = ("%F0%9F%A6%AD".repeat(64), "%C3%A9".repeat(127));
        let long = format!(
            "otpauth://totp/{issuer}:{email}?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer={issuer}&algorithm=SHA1&digits=6&period=30"
        );
        for text in [short, &long] {
            assert_eq!(read(&data_uri(text).unwrap()), text);
        }
    }

    #[test]
    fn text_that_does_not_fit_is_an_error() {
        assert!(data_uri(&"x".repeat(2_900)).is_ok());
        assert_eq!(data_uri(&"x".repeat(3_000)), Err(TooLong));
    }
}
