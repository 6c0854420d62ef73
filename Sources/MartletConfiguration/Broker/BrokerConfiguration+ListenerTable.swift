extension BrokerConfiguration {
    static let listenerSection = ConfigurationSection(
        name: "listener",
        documentation: "The listener for clients, and what one client may cost.",
        keys: listenerConnectionKeys + listenerRequestKeys
    )

    private static let listenerConnectionKeys: [ConfigurationKey] = [
        .address(
            ("listener", "listen"), \.listener.listen, "Where clients connect."),
        .boolean(
            ("listener", "allow-anonymous"), \.listener.allowAnonymous,
            "Must be true when `listen` is not a loopback address: there is no authentication "
                + "yet, so whoever can reach the listener can read and write every topic."
        ),
        .number(
            ("listener", "connections.max"), \.listener.connectionsMax, .integer(1...1_000_000),
            reloadable: true,
            "Connections at a time, over all addresses; further ones are closed at once."),
        .number(
            ("listener", "connections.per.address.max"), \.listener.connectionsPerAddressMax,
            .integer(1...1_000_000), reloadable: true,
            "Connections at a time from one address."),
        .number(
            ("listener", "connection.rate.max"), \.listener.connectionRateMax,
            .rate(1...1_000_000), reloadable: true,
            "New connections a second over all addresses, after a burst of ten times as many."),
        .number(
            ("listener", "connection.rate.per.address.max"),
            \.listener.connectionRatePerAddressMax, .rate(1...1_000_000), reloadable: true,
            "New connections a second from one address, after a burst of ten times as many."),
        .number(
            ("listener", "hello.timeout"), \.listener.helloTimeoutMilliseconds,
            .duration(100...10 * minute), reloadable: true,
            "A connection that has not said hello by then is closed."),
        .number(
            ("listener", "idle.timeout"), \.listener.idleTimeoutMilliseconds,
            .duration(second...30 * day), reloadable: true,
            "A connection without a request for so long is closed; clients are told the time "
                + "and ping."
        ),
        .number(
            ("listener", "write.timeout"), \.listener.writeTimeoutMilliseconds,
            .duration(100...hour), reloadable: true,
            "A connection that takes no byte of its replies for so long is closed."),
        .number(
            ("listener", "keepalive"), \.listener.keepAliveMilliseconds, .duration(0...day),
            "Silence after which the kernel probes whether the peer still lives; 0 never does."),
    ]

    private static let listenerRequestKeys: [ConfigurationKey] = [
        .number(
            ("listener", "frame.bytes.max"), \.listener.frameBytesMax,
            .bytes(64 * kibibyte...gibibyte),
            "Largest frame that is taken from a client. At least [topic] batch.bytes.max and 64KiB."
        ),
        .number(
            ("listener", "hello.frame.bytes.max"), \.listener.helloFrameBytesMax,
            .bytes(8 * kibibyte...mebibyte),
            "Largest frame that is taken before hello was answered."),
        .number(
            ("listener", "requests.in.flight.max"), \.listener.requestsInFlightMax,
            .integer(1...10_000),
            "Requests of one connection that are not answered yet; above it the connection is "
                + "not read."
        ),
        .number(
            ("listener", "output.bytes.max"), \.listener.outputBytesMax,
            .bytes(64 * kibibyte...4 * gibibyte),
            "Replies that wait for one slow reader; above it the connection is not read."),
        .number(
            ("listener", "memory.bytes.max"), \.listener.memoryBytesMax, .bytes(0...16 * tebibyte),
            "Memory of all connections together for requests that arrive and for replies that "
                + "wait in memory (verified, cold and small ones; what is sent from the page "
                + "cache takes none); 0 takes a quarter of what the process may still take when "
                + "it begins to serve. It is at least four batches of 8MiB, but at most half of "
                + "what the process may still take. Each connection has 20KiB of its own beside it."
        ),
    ]
}
