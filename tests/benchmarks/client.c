/* The benchmark's streaming client: many streams at once, and when each one's first chunk came.
 *
 * client PORT CONCURRENCY MILLISECONDS REQUEST-FILE MUST-CONTAIN
 * sends the file's bytes on keep-alive connections to 127.0.0.1:PORT, again and again until the time is up,
 * then waits for the answers under way, so that what the server did and what is counted are the same. An
 * answer counts if its status is 200 and its last bytes contain MUST-CONTAIN ("[DONE]", or "").
 * Prints one line of JSON; times in microseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNS = 1024, MAX_SAMPLES = 1 << 22, HEAD = 16384, TAIL = 32, GRACE_MS = 60000 };
enum state { IN_HEAD, IN_SIZE, IN_DATA, AFTER_DATA, IN_TRAILER, IN_BODY, TO_CLOSE, COMPLETE };

struct conn {
    int fd, ok, close_after;
    enum state state;
    char head[HEAD]; size_t have;       /* the head, then each line of the framing */
    size_t left;                        /* of this chunk, or of a body with a length */
    char tail[TAIL]; size_t tail_have;  /* the body's last bytes */
    uint64_t started, first;
};

static struct conn conns[MAX_CONNS];
static uint32_t *totals, *firsts;
static size_t done, errors;
static char *payload;
static size_t payload_length;
static const char *must_contain;
static int poller, port;

static void fail(const char *what) { perror(what); exit(1); }

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void start(struct conn *c) {
    if (c->fd < 0) {
        int one = 1;
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(c->fd, (struct sockaddr *)&a, sizeof a)) fail("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    }
    c->state = IN_HEAD;
    c->have = c->left = c->tail_have = 0;
    c->ok = c->close_after = 0;
    c->first = 0;
    c->started = now();
    /* A request is a few hundred bytes: it fits a fresh socket's buffer. A stale connection shows as an error. */
    if (send(c->fd, payload, payload_length, MSG_NOSIGNAL) != (ssize_t)payload_length) c->close_after = 1;
}

static void keep_tail(struct conn *c, const char *data, size_t n) {
    if (n >= TAIL) { memcpy(c->tail, data + n - TAIL, TAIL); c->tail_have = TAIL; return; }
    size_t keep = c->tail_have + n > TAIL ? TAIL - n : c->tail_have;
    memmove(c->tail, c->tail + c->tail_have - keep, keep);
    memcpy(c->tail + keep, data, n);
    c->tail_have = keep + n;
}

static void body(struct conn *c, const char *data, size_t n) {
    /* A line that starts with ':' is a comment, which keeps a held stream alive: not the first chunk. */
    if (!c->first && n && (data[0] != ':' || memmem(data, n, "\ndata:", 6))) c->first = now();
    keep_tail(c, data, n);
}

static void read_head(struct conn *c) {
    c->head[c->have] = 0;
    c->ok = !strncmp(c->head + 8, " 200", 4);
    c->state = TO_CLOSE;
    for (char *line = strstr(c->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        const char *field = line + 2;
        if (!strncasecmp(field, "content-length:", 15)) {
            c->left = strtoul(field + 15, NULL, 10);
            c->state = c->left ? IN_BODY : COMPLETE;
        } else if (!strncasecmp(field, "transfer-encoding: chunked", 26)) c->state = IN_SIZE;
        else if (!strncasecmp(field, "connection: close", 17)) c->close_after = 1;
    }
    c->have = 0;
}

/* Takes a line of the head or of the framing, byte by byte; how many bytes were used. */
static size_t lines(struct conn *c, const char *data, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (c->have == HEAD - 1) { c->ok = 0; c->state = COMPLETE; c->close_after = 1; return n; }
        c->head[c->have++] = data[i];
        if (data[i] != '\n') continue;
        if (c->state == IN_HEAD) {
            if (c->have < 4 || memcmp(c->head + c->have - 4, "\r\n\r\n", 4)) continue;
            read_head(c);
        } else {
            c->head[c->have] = 0;
            if (c->state == IN_SIZE) {
                c->left = strtoul(c->head, NULL, 16);
                c->state = c->left ? IN_DATA : IN_TRAILER;
            } else if (c->state == AFTER_DATA) c->state = IN_SIZE;
            else if (c->have <= 2) c->state = COMPLETE;
            c->have = 0;
        }
        return i + 1;
    }
    return n;
}

static void parse(struct conn *c, const char *data, size_t n) {
    while (n && c->state != COMPLETE) {
        size_t used = n;
        if (c->state == IN_DATA || c->state == IN_BODY) {
            used = n < c->left ? n : c->left;
            body(c, data, used);
            c->left -= used;
            if (!c->left) c->state = c->state == IN_DATA ? AFTER_DATA : COMPLETE;
        } else if (c->state == TO_CLOSE) body(c, data, n);
        else used = lines(c, data, n);
        data += used;
        n -= used;
    }
}

static void finish(struct conn *c) {
    c->ok = c->ok && c->state == COMPLETE && memmem(c->tail, c->tail_have, must_contain, strlen(must_contain));
    if (c->ok && done < MAX_SAMPLES) {
        totals[done] = (uint32_t)(now() - c->started);
        firsts[done++] = (uint32_t)(c->first - c->started);
    } else errors++;
    if (!c->ok || c->close_after) { close(c->fd); c->fd = -1; }
    c->started = 0;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, uint32_t *values) {
    qsort(values, done, sizeof *values, ascending);
    printf(", \"%s_p50\": %u, \"%s_p99\": %u", name, done ? values[done / 2] : 0, name,
           done ? values[done * 99 / 100] : 0);
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: client PORT CONCURRENCY MILLISECONDS REQUEST-FILE MUST-CONTAIN\n"); return 2; }
    port = atoi(argv[1]);
    int n = atoi(argv[2]);
    uint64_t length = strtoul(argv[3], NULL, 10) * 1000u;
    FILE *f = fopen(argv[4], "rb");
    if (!f || n < 1 || n > MAX_CONNS) fail(argv[4]);
    payload = malloc(1 << 20);
    payload_length = fread(payload, 1, 1 << 20, f);
    must_contain = argv[5];
    totals = malloc(MAX_SAMPLES * sizeof *totals);
    firsts = malloc(MAX_SAMPLES * sizeof *firsts);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int busy = n;
    uint64_t begun = now(), ended = begun;
    for (int i = 0; i < n; i++) { conns[i].fd = -1; start(&conns[i]); }
    static char buffer[1 << 18];
    struct epoll_event events[256];
    while (busy && now() < begun + length + GRACE_MS * 1000u) {
        int m = epoll_wait(poller, events, 256, 1000);
        for (int i = 0; i < m; i++) {
            struct conn *c = events[i].data.ptr;
            ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got > 0) parse(c, buffer, (size_t)got);
            else { if (c->state == TO_CLOSE) c->state = COMPLETE; c->close_after = 1; }
            if (c->state != COMPLETE && got > 0) continue;
            finish(c);
            ended = now();
            if (ended < begun + length) start(c);
            else busy--;
        }
    }
    printf("{\"requests\": %zu, \"errors\": %zu, \"seconds\": %.6f", done, errors + (size_t)busy, (double)(ended - begun) / 1e6);
    print("total", totals);
    print("first", firsts);
    printf("}\n");
    return 0;
}
