//! Databases changed behind strfry's back: damaged, foreign, unfinished.

use std::path::Path;

use heed::types::Bytes;
use heed::{
    CommitOrAbort, CompactionOption, Database, DatabaseFlags, Env, EnvFlags, EnvOpenOptions,
    WithoutTls,
};
use strfry_companion::strfry_db::tables::PREFIX;

/// Any LMDB environment, opened for writing without a lock file.
pub struct RawDatabase(Env<WithoutTls>);

impl RawDatabase {
    /// Opens what is in a directory, or makes it.
    pub fn open(directory: &Path) -> Self {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.max_dbs(64).map_size(1 << 30);
        // SAFETY: nothing else has this database open.
        #[allow(unsafe_code)]
        let env = unsafe { options.flags(EnvFlags::NO_LOCK).open(directory) };
        Self(env.unwrap())
    }

    /// Sets a value in one of strfry's tables, which is made if need be.
    pub fn put(&self, table: &str, key: &[u8], value: &[u8]) -> &Self {
        let table = self.table(&format!("{PREFIX}{table}"));
        let mut txn = self.0.write_txn().unwrap();
        table.put(&mut txn, key, value).unwrap();
        txn.commit().unwrap();
        self
    }

    /// Takes a key out of one of strfry's tables.
    pub fn delete(&self, table: &str, key: &[u8]) -> &Self {
        let table = self.table(&format!("{PREFIX}{table}"));
        let mut txn = self.0.write_txn().unwrap();
        table.delete(&mut txn, key).unwrap();
        txn.commit().unwrap();
        self
    }

    /// Writes what `strfry compact` does: LMDB's compacted copy.
    pub fn compact_to(&self, path: &Path) {
        self.0.copy_to_path(path, CompactionOption::Enabled).unwrap();
    }

    /// A table by its full name.
    pub fn table(&self, name: &str) -> Database<'static, Bytes, Bytes> {
        let txn = self.0.write_txn().unwrap();
        let table = self.0.create_databases_and_commit(txn, |opener, txn| {
            let mut options = opener.database_options().types::<Bytes, Bytes>();
            options.flags(flags_of(name));
            options.name(name).create(txn).map(CommitOrAbort::<_, ()>::Commit)
        });
        table.unwrap().unwrap_commit()
    }
}

/// As strfry makes its tables.
#[allow(deprecated, reason = "heed has types for integers, which tests of damage cannot use")]
fn flags_of(table: &str) -> DatabaseFlags {
    let name = table.strip_prefix(PREFIX).unwrap_or_default();
    let values = DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED | DatabaseFlags::INTEGER_DUP;
    match name {
        "" => DatabaseFlags::empty(),
        "Event__created_at" | "Event__expiration" => values | DatabaseFlags::INTEGER_KEY,
        index if index.starts_with("Event__") => values,
        _ => DatabaseFlags::INTEGER_KEY,
    }
}
