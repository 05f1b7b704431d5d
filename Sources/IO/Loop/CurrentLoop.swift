import Glibc

/// Which event loop the current thread is running, if any: a thread-local pointer, only compared.
enum CurrentLoop {
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        let result = pthread_key_create(&key, nil)
        precondition(result == 0, "pthread_key_create: \(systemErrorText(result))")
        return key
    }()

    static func isCurrent(_ loop: EventLoop) -> Bool {
        pthread_getspecific(key)
            == UnsafeMutableRawPointer(Unmanaged.passUnretained(loop).toOpaque())
    }

    static func set(_ loop: EventLoop?) {
        let result = pthread_setspecific(key, loop.map { Unmanaged.passUnretained($0).toOpaque() })
        precondition(result == 0, "pthread_setspecific: \(systemErrorText(result))")
    }
}
