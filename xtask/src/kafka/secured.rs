//! The TLS and SASL ports that a node has in addition to its plain one, with newly generated certificates.
//! The port for tokens has no TLS, and takes tokens without a signature.
//!
//! Each port advertises itself to clients, so that a connection stays on its port. The test's own clients use
//! the plain port.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::free_ports;

/// The only user of a secured node, for every mechanism.
pub(crate) const USER: &str = "mill";
/// The user's password.
pub(crate) const PASSWORD: &str = "canary-7Qz";

/// The additional ports of a secured node, and its certificates.
#[derive(Debug)]
pub(crate) struct Secured {
    /// The folder with `ca.pem`, `other-ca.pem`, `client.pem` and `client.key` for clients, and with the stores
    /// for the node.
    pub(crate) folder: PathBuf,
    /// TLS with a required client certificate.
    pub(crate) mutual: u16,
    /// TLS with SASL.
    pub(crate) sasl: u16,
    /// TLS with an expired certificate.
    pub(crate) expired: u16,
    /// TLS with a certificate for another host.
    pub(crate) elsewhere: u16,
    /// TLS only.
    pub(crate) tls: u16,
    /// SASL with a token, without TLS.
    pub(crate) token: u16,
}

/// How long a connection of the port for tokens lasts without another login.
const LOGIN_MS: u32 = 5000;

impl Secured {
    pub(super) fn make(folder: &Path) -> Result<Secured, String> {
        fs::create_dir_all(folder).map_err(|e| format!("creating {}: {e}", folder.display()))?;
        let here = "IP:127.0.0.1";
        let script = format!(
            "set -e\n\
             ca() {{ openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=$1 -keyout $1.key -out $1.pem; }}\n\
             ca ca; ca other-ca\n\
             printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=p\n\
             [p]\ncommonName=supplied\n' > ca.cnf; : > index; echo 1000 > serial\n\
             leaf() {{\n\
               openssl req -newkey rsa:2048 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr\n\
               printf 'subjectAltName=%s\\n' $2 > $1.ext\n\
               openssl ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in $1.csr -extfile $1.ext $3 -out $1.pem\n\
               openssl pkcs12 -export -in $1.pem -inkey $1.key -name $1 -passout pass:{PASSWORD} -out $1.p12\n\
             }}\n\
             leaf broker {here} '-days 30'; leaf client {here} '-days 30'; leaf elsewhere DNS:elsewhere.example '-days 30'\n\
             leaf expired {here} '-startdate 20200101000000Z -enddate 20200201000000Z'\n\
             keytool -importcert -noprompt -alias ca -file ca.pem -storetype PKCS12 -storepass {PASSWORD} -keystore trust.p12\n"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder).output();
        let output = output.map_err(|e| format!("making certificates: {e}"))?;
        if !output.status.success() {
            return Err(format!("making certificates: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let ports = || free_ports().map_err(|e| format!("looking for free ports: {e}"));
        let ([mutual, sasl, expired], [elsewhere, tls, token]) = (ports()?, ports()?);
        Ok(Secured { folder: folder.to_owned(), mutual, sasl, expired, elsewhere, tls, token })
    }

    /// Adds the listeners to a node's properties.
    pub(super) fn add_to(&self, plain: &str) -> String {
        let listeners = [
            ("MUTUAL", self.mutual, "SSL", "broker"),
            ("LOGIN", self.sasl, "SASL_SSL", "broker"),
            ("EXPIRED", self.expired, "SSL", "expired"),
            ("ELSEWHERE", self.elsewhere, "SSL", "elsewhere"),
            ("ALONE", self.tls, "SSL", "broker"),
        ];
        let folder = self.folder.display();
        let mut addresses = String::new();
        let mut map = "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
        let mut more = String::new();
        for (name, port, protocol, store) in listeners {
            addresses.push_str(&format!(",{name}://127.0.0.1:{port}"));
            map.push_str(&format!(",{name}:{protocol}"));
            let prefix = format!("listener.name.{}", name.to_lowercase());
            let auth = if name == "MUTUAL" { "required" } else { "none" };
            more.push_str(&format!(
                "{prefix}.ssl.keystore.location={folder}/{store}.p12\n{prefix}.ssl.keystore.type=PKCS12\n\
                 {prefix}.ssl.keystore.password={PASSWORD}\n{prefix}.ssl.key.password={PASSWORD}\n\
                 {prefix}.ssl.truststore.location={folder}/trust.p12\n{prefix}.ssl.truststore.type=PKCS12\n\
                 {prefix}.ssl.truststore.password={PASSWORD}\n{prefix}.ssl.client.auth={auth}\n"
            ));
        }
        let module = "org.apache.kafka.common.security";
        addresses.push_str(&format!(",TOKEN://127.0.0.1:{}", self.token));
        map.push_str(",TOKEN:SASL_PLAINTEXT");
        let handler = "oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";
        let prefix = "listener.name.token";
        more.push_str(&format!(
            "{prefix}.sasl.enabled.mechanisms=OAUTHBEARER\n\
             {prefix}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;\n\
             {prefix}.oauthbearer.sasl.server.callback.handler.class={module}.{handler}\n\
             {prefix}.oauthbearer.connections.max.reauth.ms={LOGIN_MS}\n"
        ));
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            more.push_str(&format!(
                "listener.name.login.{mechanism}.sasl.jaas.config={module}.scram.ScramLoginModule required;\n"
            ));
        }
        more.push_str(&format!(
            "listener.name.login.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n"
        ));
        let with = |line: &str| match line.split_once('=') {
            Some(("listeners" | "advertised.listeners", _)) => format!("{line}{addresses}\n"),
            _ => format!("{line}\n"),
        };
        let lines: String = plain.lines().map(with).collect();
        format!("{lines}{map}\n{more}")
    }
}
