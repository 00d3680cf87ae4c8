//! The metadata journal for commands that only look: a Postgres database, or the folder of `aquifer dev`.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use aquifer_metadata::journal::{
    Journal,
    postgres::{PostgresJournal, PostgresSettings},
    sqlite::SqliteJournal,
};
use aquifer_store::Ports;

use crate::{data_folder::DataFolder, usage::usage};

/// A journal, and what keeps others away from it.
#[derive(Debug)]
pub(crate) struct JournalSource {
    pub(crate) journal: Arc<dyn Journal>,
    _folder: Option<DataFolder>,
}

impl JournalSource {
    /// Opens the first that is set. Nothing in it is changed, its tables neither.
    pub(crate) async fn open(
        postgres: Option<&str>,
        data: Option<&Path>,
        ports: &Ports,
    ) -> Result<Self> {
        match (postgres, data) {
            (Some(url), _) => {
                let journal: Arc<dyn Journal> = Arc::new(open_postgres(url, ports).await?);
                Ok(Self {
                    journal,
                    _folder: None,
                })
            }
            (None, Some(path)) => {
                let folder = DataFolder::existing(path)?;
                let clock = Arc::clone(&ports.clock);
                let journal = SqliteJournal::open_existing(&folder.journal(), clock).await?;
                Ok(Self {
                    journal: Arc::new(journal),
                    _folder: Some(folder),
                })
            }
            (None, None) => Err(usage("say where the metadata is: --postgres or --data")),
        }
    }
}

/// Opens a database whose tables are there.
pub(crate) async fn open_postgres(url: &str, ports: &Ports) -> Result<PostgresJournal> {
    let settings = PostgresSettings {
        migrate: false,
        ..PostgresSettings::new(url)
    };
    let connecting = PostgresJournal::connect(settings, ports.clone());
    connecting.await.context("the database cannot be used")
}
