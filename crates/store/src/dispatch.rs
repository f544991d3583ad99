//! Dispatches a job to the database of the store, within a span.

/// The target of the spans around jobs. Nothing else has it, so that a program can leave them out of its log.
pub const TRANSACTION: &str = "transaction";

/// Runs a function of `statements`, compiled for the store's database.
///
/// `dispatch!(self.write(devices::create(&new)))` runs `statements::devices::create(conn, &new)` as
/// one transaction, `self.read` without one.
macro_rules! dispatch {
    ($store:ident.$how:ident($module:ident::$function:ident($($argument:expr),*))) => {
        {
            let span = ::tracing::info_span!(
                target: $crate::TRANSACTION,
                "transaction",
                statements = concat!(stringify!($module), ".", stringify!($function)),
                db.system.name = $store.backend.name(),
            );
            let job = async {
                match &$store.backend {
                    $crate::Backend::Sqlite(sqlite) => {
                        sqlite
                            .$how(move |conn| {
                                $crate::sqlite::statements::$module::$function(conn $(, $argument)*)
                            })
                            .await
                    }
                    $crate::Backend::Postgres(postgres) => {
                        postgres
                            .$how(move |conn| {
                                $crate::postgres::statements::$module::$function(conn $(, $argument)*)
                            })
                            .await
                    }
                }
            };
            ::tracing::Instrument::instrument(job, span).await
        }
    };
}

pub(crate) use dispatch;
