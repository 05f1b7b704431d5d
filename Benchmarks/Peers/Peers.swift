import Glibc

// The systems that this one is measured beside, each with the exact commands that start it.

extension Peer {
    /// Those that commit entries of one group.
    static let groups = [
        libraft(isNodelay: true), libraft(isNodelay: false), etcd(.propose), postgresql, nats,
    ]
    /// Those that have many groups.
    static let many = [nats]
    /// Those that serve linearizable reads.
    static let reads = [etcd(.read)]
    /// Those that record steps.
    static let steps = [postgresql, dbos(.steps)]
    /// Those that run workflows from start to result.
    static let workflows = [dbos(.workflows)]
    /// Those that go on with the runs of a process that was killed.
    static let takeovers = [dbosTakeover]

    /// canonical/raft, a Raft library in C on libuv.
    static func libraft(isNodelay: Bool) -> Peer {
        Peer(
            name: isNodelay ? "libraft" : "libraft-nagle",
            conditions:
                "canonical/raft on 3 processes, O_DIRECT and RWF_DSYNC on a majority before the answer, callers in the "
                + "leader's process, "
                + (isNodelay ? "TCP_NODELAY set by us" : "without TCP_NODELAY, as it is by default"),
            packages: ["libraft-dev"], needs: ["\(folder)/raft-load"],
            programs: { setting in
                (1...3).map { id in
                    let data = "\(setting.directory)/\(id)"
                    mkdir(data, 0o755)
                    return Program(
                        path: "\(folder)/raft-load",
                        arguments: ["\(id)", data] + setting.load.words + setting.ports.prefix(3).map { "\($0)" },
                        environment: isNodelay ? ["FLOTILLA_NODELAY": "1"] : [:])
                }
            })
    }

    static func etcd(_ operation: GroupLoad.Operation) -> Peer {
        Peer(
            name: "etcd",
            conditions: (operation == .propose
                ? "put on 3 etcd processes, fdatasync on a majority before the answer"
                : "linearizable get on 3 etcd processes") + ", a Go client in a process of its own, at the leader",
            packages: ["etcd-server", "golang-etcd-server-dev"], needs: ["/usr/bin/etcd", "\(folder)/etcd-load"],
            programs: { setting in
                let ports = setting.ports
                let cluster = (0..<3).map { "n\($0)=http://127.0.0.1:\(ports[$0])" }.joined(separator: ",")
                let members = (0..<3).map { id in
                    Program(
                        path: "/usr/bin/etcd",
                        arguments: [
                            "--name", "n\(id)", "--data-dir", "\(setting.directory)/n\(id)",
                            "--listen-peer-urls", "http://127.0.0.1:\(ports[id])",
                            "--initial-advertise-peer-urls", "http://127.0.0.1:\(ports[id])",
                            "--listen-client-urls", "http://127.0.0.1:\(ports[3 + id])",
                            "--advertise-client-urls", "http://127.0.0.1:\(ports[3 + id])",
                            "--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error",
                        ], port: id == 2 ? ports[5] : nil)
                }
                let endpoints = ports[3...5].map { "http://127.0.0.1:\($0)" }.joined(separator: ",")
                let load = Program(
                    path: "\(folder)/etcd-load",
                    arguments: [endpoints] + setting.load.words + [operation == .propose ? "put" : "get"])
                return members + [load]
            })
    }

    static let postgresql = Peer(
        name: "postgresql",
        conditions: "one INSERT per commit by pgbench in a process of its own, two standbys, synchronous_standby_names "
            + "'ANY 1', fdatasync on both before the answer",
        packages: ["postgresql"], needs: ["\(scripts)/postgresql-load"],
        programs: { setting in
            [
                Program(
                    path: "\(scripts)/postgresql-load",
                    arguments: [setting.directory] + setting.load.words + setting.ports.prefix(3).map { "\($0)" })
            ]
        })

    /// JetStream, whose streams of three replicas are Raft groups.
    static let nats = Peer(
        name: "nats",
        conditions: "JetStream streams of 3 replicas on 3 nats-server processes, publications that wait for their "
            + "acknowledgement, which comes before any fsync; a Go client in a process of its own",
        packages: ["nats-server", "golang-github-nats-io-go-nats-dev"],
        needs: ["/usr/sbin/nats-server", "\(folder)/nats-load"],
        programs: { setting in
            let ports = setting.ports
            let routes = (0..<3).map { "nats://127.0.0.1:\(ports[$0])" }.joined(separator: ",")
            let servers = (0..<3).map { id in
                Program(
                    path: "/usr/sbin/nats-server",
                    arguments: [
                        "--name", "n\(id)", "--addr", "127.0.0.1", "--port", "\(ports[3 + id])", "--jetstream",
                        "--store_dir", "\(setting.directory)/n\(id)", "--cluster_name", "peers",
                        "--cluster", "nats://127.0.0.1:\(ports[id])", "--routes", routes,
                    ], port: id == 2 ? ports[5] : nil)
            }
            let load = setting.load
            return servers + [
                Program(
                    path: "\(folder)/nats-load",
                    arguments: ["nats://127.0.0.1:\(ports[3])"] + load.words + [
                        "\(load.groups)", "\(load.active)", load.active == 0 ? "idle" : "publish",
                    ])
            ]
        })

    enum WorkflowLoad: String {
        case steps
        case workflows
    }

    static func dbos(_ mode: WorkflowLoad) -> Peer {
        Peer(
            name: "dbos",
            conditions: "DBOS in threads of one Python process, on a PostgreSQL with two standbys and "
                + "synchronous_standby_names 'ANY 1'",
            packages: ["postgresql", "python3-venv", "dbos of PyPI"],
            needs: ["\(scripts)/dbos-load", "\(folder)/dbos/bin/python"],
            programs: { setting in
                [
                    Program(
                        path: "\(scripts)/dbos-load",
                        arguments: [setting.directory] + setting.load.words.prefix(3)
                            + setting.ports.prefix(3).map { "\($0)" } + [mode.rawValue])
                ]
            })
    }

    /// Without its conductor, which is a service, what was interrupted goes on when the process is started again.
    static let dbosTakeover = Peer(
        name: "dbos",
        conditions:
            "a DBOS process that is started again as soon as it was killed, with the same name, on a PostgreSQL with "
            + "two standbys and synchronous_standby_names 'ANY 1': noticing that it is dead takes no time here",
        packages: ["postgresql", "python3-venv", "dbos of PyPI"],
        needs: ["\(scripts)/dbos-takeover", "\(folder)/dbos/bin/python"],
        programs: { setting in
            [
                Program(
                    path: "\(scripts)/dbos-takeover",
                    arguments: [setting.directory, "\(setting.takeovers)"] + setting.ports.prefix(3).map { "\($0)" })
            ]
        })

    private static let scripts = "Benchmarks/Peers/Programs"
}
