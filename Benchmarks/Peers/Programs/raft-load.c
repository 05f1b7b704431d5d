// One of the three processes of a canonical/raft (libraft) cluster. Whoever leads keeps a number of entries in flight for
// a while, counts, and writes one line of JSON; the callers are in the leader's process, as libraft means it.
//
//   raft-load ID FOLDER CALLERS WARMUP SECONDS BYTES PORT PORT PORT
//
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

static void begin(struct caller *caller);

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
    if (moment >= warmup_end && moment < end) {
        if (latency_count == latency_room) {
            latency_room *= 2;
            latencies = realloc(latencies, latency_room * sizeof *latencies);
            if (latencies == NULL) abort();
        }
        latencies[latency_count++] = (uint32_t)((moment - caller->began) / 100);
    }
    if (moment < end) {
        begin(caller);
    } else if (open_calls == 0) {
        report();
    }
}

static void begin(struct caller *caller) {
    struct raft_buffer buffer = {.base = raft_malloc(bytes), .len = bytes};
    if (buffer.base == NULL) abort();
    memset(buffer.base, 7, bytes);
    caller->request.data = caller;
    caller->began = now();
    open_calls++;
    check(raft_apply(&node, &caller->request, &buffer, 1, did_apply), "raft_apply");
}

static void look(struct uv_timer_s *handle) {
    (void)handle;
    if (is_loading || raft_state(&node) != RAFT_LEADER) return;
    is_loading = 1;
    warmup_end += now();
    end = warmup_end + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < caller_count; i++) begin(&callers[i]);
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
    if (count != 10) {
        fprintf(stderr, "usage: raft-load ID FOLDER CALLERS WARMUP SECONDS BYTES PORT PORT PORT\n");
        return 64;
    }
    unsigned id = (unsigned)atoi(words[1]);
    caller_count = atoi(words[3]);
    warmup_end = (uint64_t)(atof(words[4]) * 1e9);
    seconds = atof(words[5]);
    bytes = ((size_t)atoi(words[6]) + 7) / 8 * 8;  // libraft wants words
    nodelay = getenv("FLOTILLA_NODELAY") != NULL;
    callers = calloc((size_t)caller_count, sizeof *callers);
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
        snprintf(addresses[i], sizeof addresses[i], "127.0.0.1:%s", words[7 + i]);
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
    return uv_run(&loop, UV_RUN_DEFAULT);
}
