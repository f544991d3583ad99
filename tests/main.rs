//! Contract tests: the real binary on real databases, over HTTP with the generated client, and its commands as processes.
//!
//! | file | what it shows |
//! |---|---|
//! | `contract` | `openapi.yaml` still says all that the published operation says, and lists its codes |
//! | `cases` | one request for each documented answer |
//! | `authenticator` | from the QR picture to a step-up and back, with an app and a reader that are not ours |
//! | `threats` | each known attack, and that it fails |
//! | `traces` | spans reach an OpenTelemetry collector |
//! | `tls` | encrypted listeners, and certificates that are replaced |
//! | `timing` | answers that must be indistinguishable take the same time |
//! | `regenerate` | what a regeneration does and refuses |
//! | `faults` | the answers to broken requests, sent byte by byte where a client library would not send them |
//! | `configuration` | flags, variables, the configuration file, and which of them wins |
//! | `connections` | how many there may be, and peers that send nothing or do not read |
//! | `races`, `crash` | parallel regenerations, and `kill -9` while they run |
//! | `deploy` | the files in `deploy`, by the tools that read them, and what they rely on |
//! | `disk` | what is left of an SQLite file when a server stops, descriptors run out, or the WAL is taken away |
//! | `power` | a power cut at any moment, and a disk that fails; `disk.c` is what watches the disk |
//! | `backup` | backups, restoring them, and what is no backup |
//! | `canary` | nothing that the process prints holds a secret |
//! | `client` | the client as a service uses it, and its stand-ins for the server |
//! | `mock` | the mock server: every answer of the contract, and requests checked as by the server |
//! | `keys` | rotating and retiring root keys while a server runs |
//! | `notifications` | messages to users reach a webhook or a mail server |
//! | `outages` | PostgreSQL behind pools, hosts that are mute, standbys and failovers |
//! | `postgres` | a PostgreSQL server that goes away, is full, or wants TLS |
//! | `commands`, `serving` | the command line, starting and stopping |
//! | `retention` | old rows are deleted while a server runs, and no others |
//! | `rules` | floods of denials, wrong clocks, deceiving names, and codes as people copy them |
//! | `doctor` | what `arklow doctor` finds |
//! | `docs` | the documentation at `/swagger/ui` |
//! | `operators` | each change by a command is on record with the account that made it |
//! | `former` | a database and a key file of an earlier build open and work |
//! | `internal` | health, metrics and the log record of each request |
//! | `harness`, `throwaway` | servers, callers and databases to test with |
//! | `readme` | the README's commands |
//! | `recorded` | the text of help, errors and answers, as last reviewed |

mod authenticator;
mod backup;
mod canary;
mod cases;
mod client;
mod commands;
mod configuration;
mod connections;
mod contract;
mod crash;
mod deploy;
mod disk;
mod docs;
mod doctor;
mod faults;
mod former;
mod harness;
mod internal;
mod keys;
mod mock;
mod notifications;
mod operators;
mod outages;
mod postgres;
mod power;
mod races;
mod readme;
mod recorded;
mod regenerate;
mod retention;
mod rules;
mod serving;
mod threats;
mod throwaway;
mod timing;
mod tls;
mod traces;
