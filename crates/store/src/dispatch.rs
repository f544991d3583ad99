//! Dispatches a job to the database of the store.

/// Runs a function of `statements`, compiled for the store's database.
///
/// `dispatch!(self.write(devices::create(&new)))` runs `statements::devices::create(conn, &new)` as
/// one transaction, `self.read` without one.
macro_rules! dispatch {
    ($store:ident.$how:ident($module:ident::$function:ident($($argument:expr),*))) => {
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
}

pub(crate) use dispatch;
