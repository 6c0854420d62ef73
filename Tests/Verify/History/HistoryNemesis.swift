import MartletClient
import MartletJSON
import MartletSystem
import MartletTestSupport

/// What happens to the broker and the members, by seed.
struct HistoryNemesis {
    enum Deed: CaseIterable {
        case killBroker
        case killMember
        case stopMember
        case leave
        case storm
        case pauseStream
        case pauseQueue
        case killProducer
    }

    /// How often each comes in a round.
    private static let round: [Deed] = [
        .killBroker, .killBroker, .killMember, .killMember, .killMember, .stopMember, .stopMember,
        .leave, .leave, .storm, .pauseStream, .pauseQueue,
        .killProducer,
    ]

    let client: MartletClient
    let broker: BrokerProcess
    let crew: HistoryCrew
    let history: HistoryWriter
    private var random: SeededRandom
    private var deck: [Deed] = []
    private var looks: HistoryLooks
    private var words: HistoryWords
    /// Beyond the crew.
    private var guests: [HistoryCrew.Place] = []
    private var nextGuest = HistoryWorker.crew
    private var nextProducer = History.producers

    init(
        _ client: MartletClient, _ broker: BrokerProcess, _ crew: HistoryCrew,
        _ history: HistoryWriter, _ random: SeededRandom
    ) {
        self.client = client
        self.broker = broker
        self.crew = crew
        self.history = history
        self.random = random
        looks = HistoryLooks(client, history)
        words = HistoryWords(client, history)
    }

    private var now: Int64 { SystemClock().bootNanoseconds() }

    mutating func rage(seconds: Int) async throws {
        let end = now + Int64(seconds) * 1_000_000_000
        while now < end {
            if deck.isEmpty { deck = Self.round.shuffled(using: &random) }
            if let deed = deck.popLast() { try await act(deed) }
            pause(milliseconds: random.within(50...400))
            crew.wake(at: now)
            try crew.revive()
            if broker.hasEnded {
                throw VerifyError("martletd ended by itself: \(broker.lastWords)")
            }
            try await look()
            try await words.say(looks.floors, &random)
        }
        try await words.end()
        history.write(.nemesis, nil, ["f": "calm"])
        crew.wake(at: .max)
        for guest in guests { crew.leave(guest) }
        guests = []
    }

    /// How much the groups have left.
    @discardableResult
    mutating func look() async throws -> Int64 { try await looks.look() }

    /// What is parked goes on.
    func release() async throws { try await words.release() }

    private mutating func act(_ deed: Deed) async throws {
        let victim = crew.members.randomElement(using: &random)
        switch deed {
        case .killBroker:
            // What was just sent again or released is under way then.
            if random.chance(1, in: 2) { try await words.sendAgain(looks.floors, &random) }
            history.write(.nemesis, nil, ["f": "kill-broker"])
            try broker.kill()
            try broker.start()
        case .killMember:
            guard let victim else { return }
            try crew.kill(victim)
            guests.removeAll { $0 == victim }
            // Some members are missing for longer than their session.
            pause(milliseconds: random.within(0...1_500))
            if victim.number < HistoryWorker.crew { try crew.start(victim) }
        case .stopMember:
            guard let victim else { return }
            crew.stop(victim, until: now + Int64(random.within(1_200...2_200)) * 1_000_000)
        case .leave:
            guard let victim else { return }
            crew.leave(victim)
            guests.removeAll { $0 == victim }
            pause(milliseconds: random.within(0...300))
            if victim.number < HistoryWorker.crew { try crew.start(victim) }
        case .storm: try storm()
        case .pauseStream: try await pauseGroup(HistoryWorker.streamGroup)
        case .pauseQueue: try await pauseGroup(HistoryWorker.queueGroup)
        case .killProducer:
            guard let producer = crew.producers.randomElement(using: &random) else { return }
            try crew.kill(producer)
            // What it had sent is its own: the next one has other numbers.
            try crew.start(HistoryCrew.Place(kind: .producer, number: nextProducer))
            nextProducer += 1
        }
    }

    private mutating func pauseGroup(_ group: String) async throws {
        try await client.admin.pauseGroup(group)
        history.write(.nemesis, nil, ["f": "pause", "m": .string(group)])
        pause(milliseconds: random.within(100...700))
        history.write(.nemesis, nil, ["f": "resume", "m": .string(group)])
        try await client.admin.resumeGroup(group)
    }

    /// Guests come and go: those of before leave or are killed.
    private mutating func storm() throws {
        history.write(.nemesis, nil, ["f": "storm"])
        for guest in guests {
            if random.chance(1, in: 3) { try crew.kill(guest) } else { crew.leave(guest) }
        }
        guests = []
        for kind in [HistoryWorker.Kind.stream, .stream, .queue, .ordered, .parking] {
            let guest = HistoryCrew.Place(kind: kind, number: nextGuest)
            nextGuest += 1
            guests.append(guest)
            try crew.start(guest)
            pause(milliseconds: random.within(0...100))
        }
    }

}
