//! Which figures there are, and how each is measured.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use arklow_store::{DatabaseUrl, Options};
use clap::ValueEnum;

use crate::Arguments;
use crate::flush;
use crate::load::{self, Load, pause_for};
use crate::overload;
use crate::peers;
use crate::postgres::Postgres;
use crate::report::{Figure, Goal, Report, facts};
use crate::seed::{self, Crowd};
use crate::server::{Server, first_answer};
use crate::statements::{self, Looped, Question, Recording};

/// How many connections a load has.
const CONNECTIONS: u32 = 64;
/// How many pairs of loads measure the cost of the log.
const LOG_PAIRS: usize = 5;
/// How many times as many clients an overload has.
const OVERLOAD: usize = 10;

/// A group of figures that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Regenerating on SQLite: against the raw database, latency, memory, start.
    Regenerate,
    /// Verifying TOTP codes and redeeming backup codes, against the raw database.
    Codes,
    /// Regenerating on PostgreSQL, against pgbench.
    Postgres,
    /// Many users against few.
    Crowd,
    /// Other implementations.
    Peers,
}

impl Group {
    fn is_wanted(self, arguments: &Arguments) -> bool {
        match arguments.only.as_slice() {
            // Installing them takes longer than a quick look may.
            [] => !(arguments.quick && self == Self::Peers),
            only => only.contains(&self),
        }
    }
}

/// Measures, prints and writes.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder)?;
    if let Some(micros) = arguments.flush {
        flush::slow_down(micros, folder)?;
    }
    let mut report = Report::default();
    let scratch = folder.join("recorded.db");
    let recordings = record_sqlite(&scratch).await?;
    let mut bench = Bench {
        arguments,
        folder,
        recordings,
        report: &mut report,
        regenerations: None,
    };
    if Group::Regenerate.is_wanted(arguments) || Group::Peers.is_wanted(arguments) {
        bench.regenerate().await?;
    }
    if Group::Codes.is_wanted(arguments) {
        bench.codes().await?;
    }
    if Group::Crowd.is_wanted(arguments) {
        bench.crowd().await?;
    }
    let mut on_postgres = None;
    if Group::Postgres.is_wanted(arguments) || Group::Peers.is_wanted(arguments) {
        on_postgres = bench.postgres().await?;
    }
    if Group::Peers.is_wanted(arguments) {
        bench.peers(on_postgres)?;
    }

    let facts = facts(folder, arguments.flush);
    println!("{}", serde_json::to_string_pretty(&facts)?);
    println!("{}", report.table(!arguments.quick));
    if let Some(parent) = arguments.json.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(
        &arguments.json,
        serde_json::to_string_pretty(&report.json(&facts))?,
    )
    .with_context(|| arguments.json.display().to_string())?;
    eprintln!("written to {}", arguments.json.display());
    Ok(())
}

async fn record_sqlite(path: &Path) -> anyhow::Result<[Recording; 3]> {
    seed::remove(path);
    let url = DatabaseUrl::sqlite(path)?;
    let questions = [Question::Regenerate, Question::VerifyTotp, Question::Redeem];
    let recordings = statements::record(&url, &questions).await?;
    recordings
        .try_into()
        .map_err(|_| anyhow::anyhow!("one recording for each question"))
}

struct Bench<'a> {
    arguments: &'a Arguments,
    folder: &'a Path,
    /// What the store says to SQLite to regenerate, to verify and to redeem.
    recordings: [Recording; 3],
    report: &'a mut Report,
    /// The server on SQLite, for the peers.
    regenerations: Option<f64>,
}

impl Bench<'_> {
    fn users(&self) -> u64 {
        if self.arguments.quick { 2_000 } else { 10_000 }
    }

    fn figure(&mut self, what: &str, value: f64, goal: Goal, of: String) {
        self.report.add(Figure {
            what: what.to_owned(),
            value: Ok(value),
            unit: "",
            goal,
            of,
        });
    }

    fn loops(&self, crowd: &Crowd, recording: &Recording, group: usize) -> anyhow::Result<Looped> {
        let time = self.arguments.load();
        statements::replay(&crowd.path, recording, &crowd.people, group, time)
    }

    fn serve(&self, crowd: &Crowd) -> anyhow::Result<Server> {
        Server::start(&self.arguments.arklow, &crowd.url(), &crowd.keys, &[])
    }

    /// The peak of the server over this file of requests.
    fn peak(&self, server: &Server, requests: &Path) -> anyhow::Result<Load> {
        let time = self.arguments.load();
        load::load(&server.url, requests, CONNECTIONS, time, None)
    }

    async fn regenerate(&mut self) -> anyhow::Result<()> {
        let users = self.users();
        let crowd = Crowd::make(self.folder, "regenerate", users, users).await?;
        let requests = crowd.regenerations("regenerations")?;
        let recording = self.recordings[0].clone();

        // In turns, so that a machine that changes its mind does so for both.
        let before = self.loops(&crowd, &recording, CONNECTIONS as usize)?;
        let server = self.serve(&crowd)?;
        let first = self.peak(&server, &requests)?;
        let memory = server.peak_mib()?;
        drop(server);
        let after = self.loops(&crowd, &recording, CONNECTIONS as usize)?;
        let server = self.serve(&crowd)?;
        let second = self.peak(&server, &requests)?;
        let memory = memory.max(server.peak_mib()?);

        let peak = (first.per_second + second.per_second) / 2.0;
        let bare = (before.per_second + after.per_second) / 2.0;
        self.regenerations = Some(peak);
        let of = format!("{peak:.0}/s against {bare:.0}/s");
        let what = "regenerate on SQLite against the bare loop, 64 to a commit";
        self.figure(what, peak / bare, Goal::AtLeast(0.7), of);

        // Half of it, while the server is warm.
        let pause = pause_for(peak / 2.0, CONNECTIONS, second.p50 / 2);
        let time = self.arguments.load();
        let half = load::load(&server.url, &requests, CONNECTIONS, time, Some(pause))?;
        let few =
            overload::served(&server.url, &requests, CONNECTIONS as usize, time, pause).await?;
        let clients = CONNECTIONS as usize * OVERLOAD;
        let many = overload::served(&server.url, &requests, clients, time, Duration::ZERO).await?;
        drop(server);
        let of = format!(
            "p99 {:.2?} of {:.0}/s that were served, {} shed, against {:.2?} at {:.0}/s",
            many.p99, many.per_second, many.shed, few.p99, few.per_second
        );
        let what =
            "p99 of served requests under ten times the clients against p99 at half of the peak";
        let ratio = many.p99.as_secs_f64() / few.p99.as_secs_f64();
        self.figure(what, ratio, Goal::AtMost(3.0), of);
        let single = self.loops(&crowd, &recording, 1)?;
        let of = format!("{peak:.0}/s against {:.0}/s", single.per_second);
        let what = "regenerate on SQLite against one durable transaction for each";
        self.figure(what, peak / single.per_second, Goal::AtLeast(25.0), of);
        let ratio = half.p99.as_secs_f64() / single.commit.as_secs_f64();
        let of = format!(
            "p99 {:.2?} (median {:.2?}) at {:.0}/s against a commit's {:.2?}",
            half.p99, half.p50, half.per_second, single.commit
        );
        let what = "p99 at half of the peak against the median of one durable commit";
        self.figure(what, ratio, Goal::AtMost(3.0), of);

        self.logging(&crowd, &requests)?;

        self.report.add(Figure {
            what: "peak memory under that load".to_owned(),
            value: Ok(memory),
            unit: " MiB",
            goal: Goal::AtMost(64.0),
            of: format!("{} requests", first.requests + second.requests),
        });
        let times = if self.arguments.quick { 5 } else { 20 };
        let start = first_answer(
            &self.arguments.arklow,
            &crowd.url(),
            &crowd.keys,
            crowd.token(),
            times,
        )?;
        self.report.add(Figure {
            what: "start to first answer on an existing database".to_owned(),
            value: Ok(start.as_secs_f64() * 1000.0),
            unit: " ms",
            goal: Goal::AtMost(50.0),
            of: format!("median of {times} starts"),
        });
        crowd.remove();
        Ok(())
    }

    /// What a record for each request costs. In turns, for the machine may have other things to do.
    fn logging(&mut self, crowd: &Crowd, requests: &Path) -> anyhow::Result<()> {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..LOG_PAIRS {
            for (rates, level) in rates.iter_mut().zip(["info", "error"]) {
                let flags = ["--log-level", level];
                let arklow = &self.arguments.arklow;
                let server = Server::start(arklow, &crowd.url(), &crowd.keys, &flags)?;
                rates.push(self.peak(&server, requests)?.per_second);
            }
        }
        let mut ratios: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let of = format!(
            "median of {LOG_PAIRS} pairs, {:.2} to {:.2}",
            ratios[0],
            ratios[LOG_PAIRS - 1]
        );
        let what = "regenerate on SQLite with the log at `info` against `error`";
        self.figure(what, ratios[LOG_PAIRS / 2], Goal::AtLeast(0.9), of);
        Ok(())
    }

    async fn codes(&mut self) -> anyhow::Result<()> {
        // Each TOTP code works once, and a user has two valid ones at any time.
        let users = if self.arguments.quick {
            40_000
        } else {
            150_000
        };
        let crowd = Crowd::make(self.folder, "codes", users, users).await?;
        let time = self.arguments.load();

        let bare = self.loops(&crowd, &self.recordings[1].clone(), CONNECTIONS as usize)?;
        let server = self.serve(&crowd)?;
        let before = crowd.successes()?;
        let requests = crowd.verifications("verifications")?;
        let verified = load::load(&server.url, &requests, CONNECTIONS, time, None)?;
        self.all_succeeded(&crowd, before, &verified)?;
        let ratio = verified.per_second / bare.per_second;
        let of = format!(
            "{:.0}/s against {:.0}/s",
            verified.per_second, bare.per_second
        );
        let what = "verify TOTP on SQLite against its bare loop";
        self.figure(what, ratio, Goal::AtLeast(0.5), of);

        // The loop runs second and redeems the unused codes, from the last one backward.
        let before = crowd.successes()?;
        let requests = crowd.redemptions("redemptions")?;
        let redeemed = load::load(&server.url, &requests, CONNECTIONS, time, None)?;
        self.all_succeeded(&crowd, before, &redeemed)?;
        drop(server);
        let crowd = {
            crowd.remove();
            Crowd::make(self.folder, "codes", users, users).await?
        };
        let bare = self.loops(&crowd, &self.recordings[2].clone(), CONNECTIONS as usize)?;
        let ratio = redeemed.per_second / bare.per_second;
        let of = format!(
            "{:.0}/s against {:.0}/s",
            redeemed.per_second, bare.per_second
        );
        let what = "redeem a backup code on SQLite against its bare loop";
        self.figure(what, ratio, Goal::AtLeast(0.5), of);
        crowd.remove();
        Ok(())
    }

    /// A wrong code is answered with 200 as well, so wrk cannot tell.
    fn all_succeeded(&self, crowd: &Crowd, before: i64, load: &Load) -> anyhow::Result<()> {
        let succeeded = u64::try_from(crowd.successes()? - before)?;
        anyhow::ensure!(
            succeeded >= load.requests,
            "{succeeded} of {} codes were accepted: fewer users than the load needs",
            load.requests
        );
        Ok(())
    }

    async fn crowd(&mut self) -> anyhow::Result<()> {
        let (few, many) = match self.arguments.quick {
            true => (2_000, 100_000),
            false => (10_000, 10_000_000),
        };
        let real = few;
        let small = Crowd::make(self.folder, "few", few, real).await?;
        let large = Crowd::make(self.folder, "many", many, real).await?;
        let mut rates = [0.0; 2];
        // Twice each, in turns.
        for round in 0..2 {
            for (rate, crowd) in rates.iter_mut().zip([&small, &large]) {
                let requests = crowd.regenerations("regenerations")?;
                let server = self.serve(crowd)?;
                if round == 0 {
                    load::load(
                        &server.url,
                        &requests,
                        CONNECTIONS,
                        Duration::from_secs(2),
                        None,
                    )?;
                }
                *rate += self.peak(&server, &requests)?.per_second / 2.0;
            }
        }
        let [at_few, at_many] = rates;
        let of = format!("{at_many:.0}/s against {at_few:.0}/s");
        let what = format!(
            "regenerate with {} users against {}",
            large.users, small.users
        );
        self.figure(&what, at_many / at_few, Goal::AtLeast(0.8), of);
        small.remove();
        large.remove();
        Ok(())
    }

    /// How often in a second the server regenerates on PostgreSQL, if there is one.
    async fn postgres(&mut self) -> anyhow::Result<Option<f64>> {
        let postgres = match Postgres::start(&self.folder.join("postgres")) {
            Ok(postgres) => postgres,
            Err(error) => {
                self.report.add(Figure {
                    what: "regenerate on PostgreSQL against pgbench".to_owned(),
                    value: Err(format!("{error:#}")),
                    unit: "",
                    goal: Goal::AtLeast(0.8),
                    of: "PostgreSQL".to_owned(),
                });
                return Ok(None);
            }
        };
        let recorded = postgres.create("recorded")?;
        let recordings = statements::record(&recorded.parse()?, &[Question::Regenerate]).await?;
        let recording = &recordings[0];
        let users = self.users();
        let crowd = Crowd::make(self.folder, "postgres", users, users).await?;
        let database = postgres.create("bench")?;
        for arguments in [&["migrate", "up"][..], &["copy"]] {
            let status = std::process::Command::new(&self.arguments.arklow)
                .args(arguments)
                .env("ARKLOW_DATABASE_URL", &database)
                .env("ARKLOW_COPY_FROM", crowd.url())
                .env("ARKLOW_COPY_TO", &database)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()?;
            anyhow::ensure!(status.success(), "arklow {}", arguments.join(" "));
        }
        postgres.psql(&database, "VACUUM ANALYZE")?;
        let requests = crowd.regenerations("regenerations")?;
        let server = Server::start(&self.arguments.arklow, &database, &crowd.keys, &[])?;
        let time = self.arguments.load();
        // As many as the load has to the server, and as many as the server has to the database.
        let clients = [CONNECTIONS, Options::default().connections];
        let (mut ours, mut theirs) = (0.0, [0.0; 2]);
        for _ in 0..2 {
            for (theirs, clients) in theirs.iter_mut().zip(clients) {
                *theirs +=
                    postgres.pgbench(&database, recording, &crowd.people, clients, time)? / 2.0;
            }
            ours += self.peak(&server, &requests)?.per_second / 2.0;
        }
        drop(server);
        for (theirs, clients) in theirs.into_iter().zip(clients) {
            let of = format!("{ours:.0}/s against {theirs:.0}/s");
            let what = format!(
                "regenerate on PostgreSQL against pgbench with the same statements, {clients} connections"
            );
            self.figure(&what, ours / theirs, Goal::AtLeast(0.8), of);
        }
        crowd.remove();
        Ok(Some(ours))
    }

    fn peers(&mut self, on_postgres: Option<f64>) -> anyhow::Result<()> {
        let goals = [100.0, 30.0];
        for (peer, goal) in peers::PEERS.into_iter().zip(goals) {
            let folder = self.folder.join("peers").join(peer);
            let path = folder.join("peer.db");
            seed::remove(&path);
            let path = std::path::absolute(path)?;
            let ours = self.regenerations.context("regenerating comes first")?;
            self.peer(
                peer,
                "SQLite",
                &format!("sqlite:{}", path.display()),
                ours,
                goal,
            );

            let Some(ours) = on_postgres else { continue };
            let postgres = Postgres::start(&self.folder.join("postgres"))?;
            let database = postgres.create("peer")?;
            let database = database.trim_end_matches("?sslmode=disable");
            self.peer(peer, "PostgreSQL", database, ours, goal);
        }
        Ok(())
    }

    fn peer(&mut self, peer: &str, database: &str, url: &str, ours: f64, goal: f64) {
        let folder = self.folder.join("peers").join(peer);
        let time = self.arguments.load();
        let measured = peers::measure(peer, &folder, url, CONNECTIONS, time);
        let (value, of) = match measured {
            Ok(load) => {
                let theirs = load.per_second;
                let of = format!("{ours:.0}/s against {theirs:.1}/s");
                (Ok(ours / theirs), of)
            }
            Err(error) => (Err(format!("{error:#}")), format!("{ours:.0}/s")),
        };
        self.report.add(Figure {
            what: format!("regenerate on {database} against {peer}"),
            value,
            unit: " ×",
            goal: Goal::AtLeast(goal),
            of,
        });
    }
}
