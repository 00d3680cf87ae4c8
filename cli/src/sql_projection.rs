//! Tables for people, written by the process that leads the metadata service.

use anyhow::Result;
use aquifer_metadata::{
    Role,
    projection::{ProjectionSettings, postgres::PostgresTables, while_leading},
};
use aquifer_store::Ports;
use tokio::sync::watch;

use crate::arguments::cluster::SqlProjection;

/// Keeps the tables up to date whenever this process leads, if that is wanted.
pub(crate) fn start(
    ports: &Ports,
    arguments: &SqlProjection,
    postgres: &str,
    role: watch::Receiver<Role>,
) -> Result<()> {
    if !arguments.sql_projection {
        return Ok(());
    }
    let schema = arguments.sql_projection_schema.clone();
    let tables = PostgresTables::new(postgres, schema, ports.clone())?;
    let settings = ProjectionSettings {
        interval: arguments.sql_projection_interval.0,
    };
    let projecting = while_leading(ports.clone(), role, Box::new(tables), settings);
    ports.tasks.spawn(projecting);
    Ok(())
}
