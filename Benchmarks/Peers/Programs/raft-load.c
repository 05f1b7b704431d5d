// One of the three processes of a canonical/raft (libraft) cluster. Whoever leads keeps a number of entries in flight for
// a while, counts, and writes one line of JSON; the callers are in the leader's process, as libraft means it.
//
//   raft-load ID FOLDER CALLERS WARMUP SECONDS BYTES RATE PORT PORT PORT
//
// With a RATE entries are due so many a second, whatever the others take, and a latency counts from when one was due.
// libraft leaves Nagle's algorithm on. With FLOTILLA_NODELAY=1 its sockets have TCP_NODELAY.

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <raft.h>
#include <raft/uv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static int nodelay;

static void set_nodelay(int fd) {
    int on = 1;
    if (nodelay && fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// libuv's calls come here.
int connect(int fd, const struct sockaddr *address, socklen_t length) {
    set_nodelay(fd);
    return (int)syscall(SYS_connect, fd, address, length);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    int accepted = (int)syscall(SYS_accept4, fd, address, length, flags);
    set_nodelay(accepted);
    return accepted;
}

struct caller {
    struct raft_apply request;
    uint64_t began;
};

static struct raft node;
static struct uv_loop_s loop;
static struct uv_timer_s timer;
static struct caller *callers;
static int caller_count;
static size_t bytes;
static uint64_t warmup_end, end;
static double seconds;
static uint32_t *latencies;  // in units of 100 ns
static size_t latency_count, latency_room;
static int is_loading, is_measuring, open_calls;

// Of an open loop.
static double rate;
static uint64_t first, places;  // when it began, and how many entries were begun
static struct caller **idle;    // callers that wait for their time
static int idle_count;
static int pacer;  // a timerfd: libuv's own timers have milliseconds
static struct uv_poll_s pacer_poll;
static const uint64_t patience = 10000000000u;  // how far it may be behind at its end

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void check(int code, const char *what) {
    if (code == 0) return;
    fprintf(stderr, "%s: %s\n", what, raft_strerror(code));
    exit(1);
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/// In microseconds, by nearest rank.
static double percentile(double share) {
    size_t rank = (size_t)(share * (double)latency_count + 0.999999);
    return latency_count == 0 ? 0 : latencies[rank == 0 ? 0 : rank - 1] / 10.0;
}

static void report(void) {
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    printf(
        "{\"operations\":%zu,\"seconds\":%.6f,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"most\":%.1f}\n", latency_count,
        seconds, percentile(0.5), percentile(0.99), percentile(0.999), percentile(1));
    fflush(stdout);
}

static void begin(struct caller *caller, uint64_t moment);

static uint64_t due(uint64_t place) { return first + (uint64_t)((double)place * 1e9 / rate); }

// Begins what is due, as long as somebody is idle, and sets the clock for the next.
static void pace(void) {
    uint64_t moment = now();
    while (idle_count > 0 && due(places) <= moment && due(places) < end) begin(idle[--idle_count], due(places++));
    if (due(places) >= end) {
        if (open_calls == 0) report();
        return;
    }
    if (moment > end + patience) {
        fprintf(stderr, "%.0f requests a second are more than it can do\n", rate);
        exit(1);
    }
    if (idle_count == 0) return;
    uint64_t next = due(places);
    struct itimerspec when = {.it_value = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)}};
    timerfd_settime(pacer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void did_wake(struct uv_poll_s *handle, int status, int events) {
    (void)handle, (void)status, (void)events;
    uint64_t count;
    if (read(pacer, &count, sizeof count) < 0 && errno != EAGAIN) abort();
    pace();
}

static void did_apply(struct raft_apply *request, int status, void *result) {
    (void)result;
    struct caller *caller = request->data;
    uint64_t moment = now();
    if (moment >= warmup_end && !is_measuring) {
        is_measuring = 1;
        puts("measuring");
        fflush(stdout);
    }
    check(status, "raft_apply");
    open_calls--;
    // Of an open loop all that was due in time counts, however late it was done.
    if (rate > 0 ? caller->began >= warmup_end : moment >= warmup_end && moment < end) {
        if (latency_count == latency_room) {
            latency_room *= 2;
            latencies = realloc(latencies, latency_room * sizeof *latencies);
            if (latencies == NULL) abort();
        }
        latencies[latency_count++] = (uint32_t)((moment - caller->began) / 100);
    }
    if (rate > 0) {
        idle[idle_count++] = caller;
        pace();
    } else if (moment < end) {
        begin(caller, now());
    } else if (open_calls == 0) {
        report();
    }
}

static void begin(struct caller *caller, uint64_t moment) {
    struct raft_buffer buffer = {.base = raft_malloc(bytes), .len = bytes};
    if (buffer.base == NULL) abort();
    memset(buffer.base, 7, bytes);
    caller->request.data = caller;
    caller->began = moment;
    open_calls++;
    check(raft_apply(&node, &caller->request, &buffer, 1, did_apply), "raft_apply");
}

static void look(struct uv_timer_s *handle) {
    (void)handle;
    if (is_loading || raft_state(&node) != RAFT_LEADER) return;
    is_loading = 1;
    first = now();
    warmup_end += first;
    end = warmup_end + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < caller_count; i++) {
        if (rate > 0)
            idle[idle_count++] = &callers[i];
        else
            begin(&callers[i], now());
    }
    if (rate > 0) pace();
}

static int apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result) {
    (void)buffer;
    ++*(uint64_t *)fsm->data;
    *result = NULL;
    return 0;
}

static int snapshot(struct raft_fsm *fsm, struct raft_buffer *buffers[], unsigned *count) {
    *count = 1;
    *buffers = raft_malloc(sizeof **buffers);
    (*buffers)[0].len = 8;
    (*buffers)[0].base = raft_malloc(8);
    memcpy((*buffers)[0].base, fsm->data, 8);
    return 0;
}

static int restore(struct raft_fsm *fsm, struct raft_buffer *buffer) {
    memcpy(fsm->data, buffer->base, 8);
    raft_free(buffer->base);
    return 0;
}

int main(int count, char **words) {
    if (count != 11) {
        fprintf(stderr, "usage: raft-load ID FOLDER CALLERS WARMUP SECONDS BYTES RATE PORT PORT PORT\n");
        return 64;
    }
    unsigned id = (unsigned)atoi(words[1]);
    caller_count = atoi(words[3]);
    warmup_end = (uint64_t)(atof(words[4]) * 1e9);
    seconds = atof(words[5]);
    bytes = ((size_t)atoi(words[6]) + 7) / 8 * 8;  // libraft wants words
    rate = atof(words[7]);
    nodelay = getenv("FLOTILLA_NODELAY") != NULL;
    callers = calloc((size_t)caller_count, sizeof *callers);
    idle = calloc((size_t)caller_count, sizeof(struct caller *));
    latency_room = 1 << 20;
    latencies = malloc(latency_room * sizeof *latencies);

    struct raft_uv_transport transport = {0};
    struct raft_io io = {0};
    uint64_t applied = 0;
    struct raft_fsm fsm = {.version = 1, .data = &applied, .apply = apply, .snapshot = snapshot, .restore = restore};
    struct raft_configuration configuration;
    char addresses[3][32];
    raft_configuration_init(&configuration);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(addresses[i], sizeof addresses[i], "127.0.0.1:%s", words[8 + i]);
        check(raft_configuration_add(&configuration, i + 1, addresses[i], RAFT_VOTER), "raft_configuration_add");
    }
    uv_loop_init(&loop);
    check(raft_uv_tcp_init(&transport, &loop), "raft_uv_tcp_init");
    check(raft_uv_init(&io, &loop, words[2], &transport), "raft_uv_init");
    check(raft_init(&node, &io, &fsm, id, addresses[id - 1]), "raft_init");
    check(raft_bootstrap(&node, &configuration), "raft_bootstrap");
    // Neither is to compact its log while it is measured.
    raft_set_snapshot_threshold(&node, 1u << 30);
    raft_set_pre_vote(&node, true);
    check(raft_start(&node), "raft_start");
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, look, 0, 20);
    pacer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    check(pacer < 0 ? RAFT_IOERR : 0, "timerfd_create");
    uv_poll_init(&loop, &pacer_poll, pacer);
    uv_poll_start(&pacer_poll, UV_READABLE, did_wake);
    return uv_run(&loop, UV_RUN_DEFAULT);
}
