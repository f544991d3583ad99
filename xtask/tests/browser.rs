//! The documentation and the security page in a real browser; the tests themselves are in `tests/browser`.

use std::path::Path;

use super::sdk::with_node;
use super::skip;

/// Where `tests/browser/playwright.config.ts` looks for one.
const CHROMIUM: [&str; 3] = [
    "/usr/bin/chromium",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

#[test]
fn pages_work_in_chromium() {
    let named = std::env::var_os("CHROMIUM");
    let mut places = CHROMIUM
        .iter()
        .map(Path::new)
        .chain(named.as_deref().map(Path::new));
    if !places.any(Path::exists) {
        skip("Chromium is not installed, and CHROMIUM names none");
        return;
    }
    if let Some(ended) = with_node(&["browser"]) {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
}
