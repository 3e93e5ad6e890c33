//! New connections to the server: over TCP, or over TLS.
//!
//! The client library makes those without TLS. It would make those with TLS as well, but reads the
//! system's authorities for each; so they are made here, and handed to it.

use std::io;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
};
use tokio::net::TcpStream;

use super::slot::Unusable;
use crate::failure::classify;
use crate::location::Location;
use crate::tls::{HandshakeError, Tls, TlsWanted};

/// The way to one server.
pub(super) struct Dial {
    host: String,
    port: u16,
    client: Client,
    settings: RedisConnectionInfo,
    /// TLS, if the URL asks for it.
    tls: Option<Tls>,
}

impl Dial {
    /// Returns the way to the server at `location`, without connecting.
    ///
    /// # Errors
    /// Returns a sentence if the library does not take the address, or if the URL asks for TLS and
    /// the authorities cannot be read.
    pub(super) fn new(location: &Location) -> Result<Dial, String> {
        let Location { host, port, tls, .. } = location;
        // User, password and database are sent by `Connections::connect`, so that each rejection
        // has its own message.
        let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        // The library's default is off: a small request then waits until the packet before it is
        // acknowledged, which takes 40 ms with delayed acknowledgements.
        let sockets = TcpSettings::default().set_nodelay(true);
        let client = ConnectionAddr::Tcp(host.clone(), *port).into_connection_info().and_then(|info| {
            Client::open(info.set_redis_settings(settings.clone()).set_tcp_settings(sockets))
        });
        let client = client.map_err(|why| why.to_string())?;
        let tls = match tls {
            Some(TlsWanted { ca }) => Some(Tls::new(host, ca.as_deref())?),
            None => None,
        };
        Ok(Dial { host: host.clone(), port: *port, client, settings, tls })
    }

    /// Returns true if connections speak TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or if the two sides do not agree on TLS.
    pub(super) async fn connect(
        &self,
        asked: &str,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, Unusable> {
        let failed = |error: RedisError| Unusable::Error(classify(asked, &error).failure.into_error(asked));
        let Some(tls) = &self.tls else {
            return self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed);
        };
        let failed_io = |why: io::Error| failed(why.into());
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed_io)?;
        // As for connections without TLS.
        tcp.set_nodelay(true).map_err(failed_io)?;
        let stream = tls.connect(tcp).await.map_err(|why| match why {
            HandshakeError::Io(why) => failed_io(why),
            HandshakeError::Unfit(why) => Unusable::Unfit(why),
        })?;
        let made = MultiplexedConnection::new_with_config(&self.settings, stream, config).await;
        let (connection, driver) = made.map_err(failed)?;
        // It ends when the last handle to the connection is dropped.
        tokio::spawn(driver);
        Ok(connection)
    }
}
