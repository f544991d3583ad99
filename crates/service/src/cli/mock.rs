//! `arklow mock`: serves the examples of the contract, without a database.

use std::net::SocketAddr;

use clap::Args;
use serde_json::json;

use super::args::{LISTEN, address};
use super::error::CliError;
use super::output::{self, Format};
use super::serve::ServeArgs;
use crate::http::server::{self, ServerError};
use crate::mock::{Mock, TOKEN};
use crate::signals::Hangup;

#[derive(Debug, Args)]
pub(crate) struct MockArgs {
    /// The loopback address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = LISTEN, value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Serves until a signal.
pub(crate) async fn run(args: MockArgs) -> Result<(), CliError> {
    if !args.listen.ip().is_loopback() {
        return Err(CliError::NotLoopback {
            command: "mock",
            address: args.listen,
        });
    }
    let mock = Mock::new().map_err(ServerError::Start)?;
    let mut config = ServeArgs::defaults().config();
    config.listen = args.listen;
    config.hangup = Hangup::Stop;
    let format = Format::from_flag(args.json);
    let ready = |address| {
        output::banner(&[
            "A MOCK: every answer is an example of the contract, whatever was sent.",
            "Nothing is stored, no code is looked at, any well-formed token will do.",
        ]);
        print(format, &format!("http://{address}"))
    };
    let nothing_else = std::future::pending();
    server::until_signal(mock, config, ready, nothing_else, async {}, async {}).await
}

fn print(format: Format, url: &str) -> Result<(), CliError> {
    let human = format!(
        "token: {TOKEN}\n\
         \n\
         Ten backup codes, and how it looks when there are none:\n\
         \n\
         curl -sS -X POST {url}/v1/self/mfa/regenerate/totp -H 'content-type: application/json' \
         -H 'x-arklow-auth: {TOKEN}' -d '{{\"device_id\":\"1\"}}'\n\
         curl -sS -X POST {url}/v1/self/mfa/regenerate/totp -H 'content-type: application/json' \
         -H 'x-arklow-auth: {TOKEN}' -d '{{\"device_id\":\"1\"}}' -H 'prefer: code=429'\n\
         \n\
         `prefer: code=STATUS` asks for another documented status, `example=NAME` for another example.\n\
         Next, point your frontend at {url}; `arklow dev` is a server that works.\n"
    );
    output::data(format, &human, &json!({ "url": url, "token": TOKEN }))
}
