"""The files one broker starts from: server.properties, PEM stores and the logging configuration."""

from __future__ import annotations

from pathlib import Path

from replicator.devkit.brokers.config import HOST, ClusterConfig, ListenerSecurity
from replicator.devkit.runtime.distribution import needs_zookeeper
from replicator.model.security import Mechanism

_LOGIN_MODULES = {
    Mechanism.PLAIN: "org.apache.kafka.common.security.plain.PlainLoginModule",
    Mechanism.SCRAM_SHA_256: "org.apache.kafka.common.security.scram.ScramLoginModule",
    Mechanism.SCRAM_SHA_512: "org.apache.kafka.common.security.scram.ScramLoginModule",
    Mechanism.OAUTHBEARER: "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}

LOG4J2 = """\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
logger.values.name = org.apache.kafka.common.config.AbstractConfig
logger.values.level = WARN
"""

LOG4J1 = """\
log4j.rootLogger = INFO, out
log4j.appender.out = org.apache.log4j.ConsoleAppender
log4j.appender.out.layout = org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern = %d{ISO8601} %p %m (%c)%n
log4j.logger.kafka.server.KafkaConfig = WARN
log4j.logger.org.apache.kafka.common.config.AbstractConfig = WARN
"""
"""Both write to standard output, which is a file per broker, so that messages of the JVM end up there too."""


def server_properties(config: ClusterConfig, node_id: int, directory: Path) -> dict[str, str]:
    """Return the properties of one broker whose files are in `directory`."""
    return {
        **_defaults(config),
        **_membership(config, node_id),
        "log.dirs": str(directory / "data"),
        **_listeners(config, node_id),
        **_authorizer(config),
        **(_security(config.security, directory) if config.security else {}),
        **config.overrides,
    }


def render(properties: dict[str, str]) -> str:
    """Return the text of a Java properties file."""
    return "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items())


def keystore_file(directory: Path) -> Path:
    """Return where the broker's key and chain go: Kafka needs both in one PEM file."""
    return directory / "keystore.pem"


def _defaults(config: ClusterConfig) -> dict[str, str]:
    replicas = str(min(3, config.brokers))
    min_isr = str(min(2, config.brokers))
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": min_isr,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": min_isr,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": min_isr,
        "share.coordinator.state.topic.num.partitions": "4",
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # 128 MiB by default, a third of our heap.
        "log.cleaner.dedupe.buffer.size": str(4 << 20),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


def _membership(config: ClusterConfig, node_id: int) -> dict[str, str]:
    """Return the properties for joining the cluster, and for noticing a broker's death."""
    if needs_zookeeper(config.kafka_version):
        return {
            "broker.id": str(node_id),
            "zookeeper.connect": f"{HOST}:{config.ports(1).controller}",
            "zookeeper.session.timeout.ms": "3000",
        }
    voters = ",".join(f"{node}@{HOST}:{config.ports(node).controller}" for node in config.node_ids)
    return {
        "process.roles": "broker,controller",
        "controller.quorum.voters": voters,
        "node.id": str(node_id),
        # A heartbeat admits a broker, and missing ones reveal a dead one: 2 s and 9 s by default.
        # The second is also how long a killed broker has to wait before it may register again.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
    }


def _listeners(config: ClusterConfig, node_id: int) -> dict[str, str]:
    ports = config.ports(node_id)
    # Listener to (security protocol, port it binds, port it advertises).
    listeners = {"DIRECT": ("PLAINTEXT", ports.direct, ports.direct)}
    if node_id in config.repl_advertised:
        listeners["REPL"] = ("PLAINTEXT", ports.repl, config.repl_advertised[node_id])
    if config.security is not None:
        listeners["SECURE"] = (str(config.security.protocol), ports.secure, ports.secure)
    bound = [f"{name}://{HOST}:{port}" for name, (_, port, _) in listeners.items()]
    advertised = [f"{name}://{HOST}:{port}" for name, (_, _, port) in listeners.items()]
    protocols = [f"{name}:{protocol}" for name, (protocol, _, _) in listeners.items()]
    quorum = {}
    if not needs_zookeeper(config.kafka_version):
        bound.append(f"CONTROLLER://{HOST}:{ports.controller}")
        protocols.append("CONTROLLER:PLAINTEXT")
        quorum["controller.listener.names"] = "CONTROLLER"
    return {
        "listeners": ",".join(bound),
        "advertised.listeners": ",".join(advertised),
        "listener.security.protocol.map": ",".join(protocols),
        "inter.broker.listener.name": "DIRECT",
        **quorum,
    }


def _authorizer(config: ClusterConfig) -> dict[str, str]:
    if not config.authorizer:
        return {}
    # Brokers talk to each other on plain-text listeners, where everybody is ANONYMOUS.
    standard = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    with_zookeeper = "kafka.security.authorizer.AclAuthorizer"
    return {
        "authorizer.class.name": with_zookeeper if needs_zookeeper(config.kafka_version) else standard,
        "super.users": ";".join(["User:ANONYMOUS", *config.super_users]),
    }


def _security(security: ListenerSecurity, directory: Path) -> dict[str, str]:
    prefix = "listener.name.secure."
    properties: dict[str, str] = {}
    if security.certificate is not None:
        properties |= {
            f"{prefix}ssl.keystore.type": "PEM",
            f"{prefix}ssl.keystore.location": str(keystore_file(directory)),
            f"{prefix}ssl.truststore.type": "PEM",
            f"{prefix}ssl.truststore.location": str(security.certificate.ca_file.absolute()),
            f"{prefix}ssl.client.auth": "required" if security.client_certificates else "none",
        }
    if security.protocol.sasl:
        properties[f"{prefix}sasl.enabled.mechanisms"] = ",".join(security.mechanisms)
        for mechanism in security.mechanisms:
            key = f"{prefix}{mechanism.lower()}.sasl.jaas.config"
            properties[key] = _jaas(mechanism, security)
    return properties


def _jaas(mechanism: Mechanism, security: ListenerSecurity) -> str:
    options = []
    if mechanism is Mechanism.PLAIN:
        options = [f'user_{name}="{password}"' for name, password in security.users.items()]
    if mechanism is Mechanism.OAUTHBEARER:
        # The broker logs in for each mechanism it offers; without a verifier configured, tokens are unsecured ones.
        options = ['unsecuredLoginStringClaim_sub="broker"']
    return " ".join([_LOGIN_MODULES[mechanism], "required", *options]) + ";"


def _escaped(value: str) -> str:
    """Return a value as java.util.Properties reads it back."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
