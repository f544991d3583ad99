//! How a question reaches whichever database there is.

/// Asks a question of the store's database: the same function of `statements`, compiled for it.
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
