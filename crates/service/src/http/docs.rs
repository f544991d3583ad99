//! The documentation in the browser: Swagger UI and the contract itself, below `/swagger/ui`.
//!
//! Knows no operation: it shows what `openapi.yaml` says.

use std::io::{self, Read as _, Write as _};
use std::sync::{LazyLock, OnceLock};

use dropshot::{
    ApiDescription, ApiDescriptionRegisterError, ApiEndpoint, ApiEndpointVersions, Body, HttpError,
    RequestContext, ServerContext,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

/// Adds the pages to what the server answers, not to what its description says: they are no operations.
pub(crate) fn register<C: ServerContext>(
    description: &mut ApiDescription<C>,
) -> Result<(), ApiDescriptionRegisterError> {
    for page in PAGES.iter() {
        for method in [Method::GET, Method::HEAD] {
            let handler = move |rqctx: RequestContext<C>| async move {
                // Dropshot skips empty segments; a proxy may hide these paths by their name.
                let path = rqctx.request.uri().path();
                if path.strip_suffix('/').unwrap_or(path) != page.path {
                    return Err(HttpError::for_not_found(
                        None,
                        "the path is another one".to_owned(),
                    ));
                }
                page.answer(rqctx.request.headers())
            };
            let endpoint = ApiEndpoint::new(
                format!("{method} {}", page.path),
                handler,
                method,
                "application/json",
                page.path,
                ApiEndpointVersions::All,
            );
            description.register(endpoint.visible(false))?;
        }
    }
    Ok(())
}

/// On every page. The policy allows what this server serves and nothing else: no script or style within the page, and no
/// other host, so that a token goes nowhere but here.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    // Cached but revalidated: after an upgrade a browser must not mix both versions.
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding"),
];

static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let yaml = contract();
    let json = json();
    vec![
        Page::new(
            "/swagger/ui",
            "text/html; charset=utf-8",
            pack(include_bytes!("../../swagger-ui/index.html")),
        ),
        Page::new(
            "/swagger/ui/json",
            "application/json",
            pack(json.as_bytes()),
        ),
        // RFC 9512.
        Page::new(
            "/swagger/ui/yaml",
            "application/yaml",
            pack(yaml.as_bytes()),
        ),
        Page::new(
            "/swagger/ui/static/init.js",
            JAVASCRIPT,
            pack(include_bytes!("../../swagger-ui/init.js")),
        ),
        Page::new(
            "/swagger/ui/static/swagger-ui-bundle.js",
            JAVASCRIPT,
            include_bytes!("../../swagger-ui/vendored/swagger-ui-bundle.js.gz").to_vec(),
        ),
        Page::new(
            "/swagger/ui/static/swagger-ui.css",
            "text/css; charset=utf-8",
            include_bytes!("../../swagger-ui/vendored/swagger-ui.css.gz").to_vec(),
        ),
        Page::new(
            "/swagger/ui/static/favicon-32x32.png",
            "image/png",
            pack(include_bytes!(
                "../../swagger-ui/vendored/favicon-32x32.png"
            )),
        ),
        // What the licenses ask to be handed on.
        Page::new(
            "/swagger/ui/static/LICENSE",
            TEXT,
            pack(include_bytes!("../../swagger-ui/vendored/LICENSE")),
        ),
        Page::new(
            "/swagger/ui/static/NOTICE",
            TEXT,
            pack(include_bytes!("../../swagger-ui/vendored/NOTICE")),
        ),
        Page::new(
            "/swagger/ui/static/swagger-ui-bundle.js.LICENSE.txt",
            TEXT,
            pack(include_bytes!(
                "../../swagger-ui/vendored/swagger-ui-bundle.js.LICENSE.txt"
            )),
        ),
    ]
});

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What is answered at a path.
struct Page {
    path: &'static str,
    media_type: &'static str,
    /// The compressed content, for clients that accept gzip.
    packed: Vec<u8>,
    /// The uncompressed content, made on the first request that needs it: a copy per answer would fill the memory when clients do not read.
    unpacked: OnceLock<Vec<u8>>,
    etag: String,
}

impl Page {
    fn new(path: &'static str, media_type: &'static str, packed: Vec<u8>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, &packed);
        let digest: String = digest.as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            path,
            media_type,
            packed,
            unpacked: OnceLock::new(),
            // Weak, for one tag is of the page whether it is sent packed or not (RFC 9110 §8.8.3.3).
            etag: format!("W/\"{digest}\""),
        }
    }

    fn answer(&'static self, request: &HeaderMap) -> Result<Response<Body>, HttpError> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::ETAG, HeaderValue::from_static(&self.etag));
        if self.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.media_type),
        );
        let body = if takes_gzip(request) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Body::with_content(&self.packed[..])
        } else {
            Body::with_content(self.unpacked()?)
        };
        *response.body_mut() = body;
        Ok(response)
    }

    fn unpacked(&'static self) -> Result<&'static [u8], HttpError> {
        if let Some(unpacked) = self.unpacked.get() {
            return Ok(unpacked);
        }
        let unpacked = unpack(&self.packed);
        let unpacked =
            unpacked.map_err(|error| HttpError::for_internal_error(error.to_string()))?;
        Ok(self.unpacked.get_or_init(|| unpacked))
    }

    /// Whether the caller has the page already (RFC 9110 §13.1.2).
    fn is_known(&self, request: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let lists = request.get_all(header::IF_NONE_MATCH).iter();
        lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(&self.etag))
    }
}

/// Whether the client accepts gzip (RFC 9110 §12.5.3); not, if it does not say so.
fn takes_gzip(request: &HeaderMap) -> bool {
    let lists = request.get_all(header::ACCEPT_ENCODING).iter();
    let entries: Vec<(&str, f32)> = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let coding = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| {
                let (name, weight) = part.split_once('=')?;
                name.eq_ignore_ascii_case("q")
                    .then(|| weight.parse().unwrap_or(0.0))
            });
            (coding, weight.unwrap_or(1.0))
        })
        .collect();
    let weight = |name: &str| {
        let named = entries
            .iter()
            .find(|(coding, _)| coding.eq_ignore_ascii_case(name));
        named.map(|(_, weight)| *weight)
    };
    weight("gzip")
        .or_else(|| weight("*"))
        .is_some_and(|weight| weight > 0.0)
}

/// The contract, with this server before those that it lists: otherwise "Try it out" would go to production.
fn contract() -> String {
    const SERVERS: &str = "\nservers:\n";
    const OURS: &str = "  - url: /\n    description: This server\n";
    insert_after(SERVERS, OURS, include_str!("../../../../openapi.yaml"))
}

/// The same document in JSON, in the same order.
fn json() -> String {
    const SERVERS: &str = "\n  \"servers\": [\n";
    const OURS: &str =
        "    {\n      \"url\": \"/\",\n      \"description\": \"This server\"\n    },\n";
    insert_after(SERVERS, OURS, arklow_api::CONTRACT)
}

fn insert_after(heading: &str, entry: &str, document: &str) -> String {
    let (before, after) = document
        .split_once(heading)
        .expect("the contract lists servers");
    format!("{before}{heading}{entry}{after}")
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    packed.expect("memory takes everything")
}

fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
