/* A server that costs less than any client: fixed answers of an OpenAI-style API, one thread, epoll, loopback only.
 *
 *   server --port 0 --dims 1536 --items 20 [--indented 1] [--service-ms 0 [--slots 0]] [--refuse-after N]
 *
 * Prints its port, and then `first SECONDS` (CLOCK_MONOTONIC) when the first request has arrived. On SIGTERM it prints
 * `served N cpu SECONDS` and ends. With --service-ms an answer takes that long; with --slots only so many are worked
 * on at once, in the order of their arrival. From request N on every answer is a 401. It ends with its parent.
 *
 * Numbers are the shortest that read back as the same float32. With --indented embeddings are laid out as by
 * api.openai.com, one number a line (answers of 2023 to 2026, recorded in the test fixtures of ruby-openai and
 * ruby_llm); else without white space, as by TEI.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 4096, LARGEST_REQUEST = 1 << 20, MOST_SLOTS = 1024 };

struct body { char *bytes; size_t size; };                  /* what is being built */
struct vectors { struct body text; size_t *ends; };         /* entries 0 … items-1, joined by commas */
struct answer { const char *bytes; size_t size; int count; int kind; }; /* count and kind only for embeddings */
struct connection { char *input; size_t filled; char *output; size_t size, sent, room; };
struct waiting { int descriptor; struct answer answer; double due; };

static struct connection connections[MOST_CONNECTIONS];
static struct vectors encoded[2];                           /* floats, base64 */
static struct body chat, completion, refusal;
static struct waiting *queue;                               /* a ring; due times never fall */
static size_t head, tail;
static double slot_free[MOST_SLOTS];
static int items = 20, dims = 1536, indented = 0, slots = 0, epoll;
static double service = 0;
static long served = 0, refuse_after = -1;
static volatile sig_atomic_t ended = 0;

static void end(int number) { (void)number; ended = 1; }

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void put(struct body *body, const char *bytes, size_t size) {
    if (!(body->bytes = realloc(body->bytes, body->size + size + 1))) fail("realloc");
    memcpy(body->bytes + body->size, bytes, size);
    body->size += size;
}

static void put_text(struct body *body, const char *text) { put(body, text, strlen(text)); }

static struct body http(const char *status, const char *json) {
    char start[256];
    struct body body = {0};
    snprintf(start, sizeof start, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             status, strlen(json));
    put_text(&body, start);
    put_text(&body, json);
    return body;
}

static void put_base64(struct body *body, const unsigned char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        unsigned block = bytes[at] << 16 | (left > 1 ? bytes[at + 1] << 8 : 0) | (left > 2 ? bytes[at + 2] : 0);
        char four[4] = {digits[block >> 18], digits[block >> 12 & 63], left > 1 ? digits[block >> 6 & 63] : '=',
                        left > 2 ? digits[block & 63] : '='};
        put(body, four, 4);
    }
}

static void put_number(struct body *body, float number) {
    char text[32];
    int digits = 6;
    do snprintf(text, sizeof text, "%.*g", digits, number);
    while (strtof(text, NULL) != number && ++digits <= 9);
    put_text(body, text);
}

static void make_entry(struct body *body, int index, int base64, unsigned *seed) {
    char text[64];
    float vector[dims];
    for (int at = 0; at < dims; at++) {
        *seed = *seed * 1664525u + 1013904223u;
        vector[at] = (*seed >> 8) / 16777216.0f * 0.1f - 0.05f;
    }
    if (index) put_text(body, ",");
    put_text(body, indented ? "\n    {\n      \"object\": \"embedding\",\n      \"index\": "
                            : "{\"object\":\"embedding\",\"index\":");
    snprintf(text, sizeof text, indented ? "%d,\n      \"embedding\": %s" : "%d,\"embedding\":%s",
             index, base64 ? "\"" : "[");
    put_text(body, text);
    if (base64) put_base64(body, (unsigned char *)vector, sizeof vector);
    for (int at = 0; !base64 && at < dims; at++) {
        if (at) put_text(body, ",");
        if (indented) put_text(body, "\n        ");
        put_number(body, vector[at]);
    }
    if (indented) put_text(body, base64 ? "\"\n    }" : "\n      ]\n    }");
    else put_text(body, base64 ? "\"}" : "]}");
}

static void make_vectors(int base64) {
    struct vectors *made = &encoded[base64];
    unsigned seed = 1;
    if (!(made->ends = calloc(items + 1, sizeof *made->ends))) fail("calloc");
    for (int index = 0; index < items; index++) {
        make_entry(&made->text, index, base64, &seed);
        made->ends[index + 1] = made->text.size;
    }
}

static void make_texts(void) {
    char text[1024], json[2048];
    for (size_t at = 0; at < 480; at++) text[at] = "the order was sent and will arrive soon, "[at % 41];
    text[480] = 0;
    snprintf(json, sizeof json,
             "{\"id\":\"chatcmpl-9f3b2c7d1e5a48c6b0d4\",\"object\":\"chat.completion\",\"created\":1763596800,"
             "\"model\":\"simulator-text-1\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
             "\"%s\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":110,"
             "\"completion_tokens\":96,\"total_tokens\":206,\"prompt_tokens_details\":{\"cached_tokens\":0}},"
             "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\"}", text);
    chat = http("200 OK", json);
    snprintf(json, sizeof json,
             "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1763596800,\"model\":\"simulator-text-1\","
             "\"choices\":[{\"index\":0,\"text\":\"%s\",\"finish_reason\":\"stop\"}],"
             "\"usage\":{\"prompt_tokens\":110,\"completion_tokens\":96,\"total_tokens\":206}}", text);
    completion = http("200 OK", json);
    refusal = http("401 Unauthorized", "{\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}");
}

static int count_inputs(const char *body, const char *stop) {
    const char *at = memmem(body, stop - body, "\"input\"", 7);
    int count = 0, quoted = 0;
    if (!at) return 1;
    for (at += 7; at < stop && (*at == ':' || *at == ' '); at++) {}
    if (at >= stop || *at != '[') return 1;
    for (; at < stop && (quoted || *at != ']'); at++) {
        if (quoted && *at == '\\') at++;
        else if (*at == '"' && (quoted = !quoted)) count++;
    }
    return count > items ? items : count;
}

static struct answer choose(const char *request, const char *body, const char *stop) {
    const char *line = memchr(request, '\r', body - request);
    struct answer answer = {chat.bytes, chat.size, 0, 0};
    if (refuse_after >= 0 && served > refuse_after) return (struct answer){refusal.bytes, refusal.size, 0, 0};
    if (memmem(request, line - request, "/embeddings", 11)) {
        const char *format = memmem(body, stop - body, "\"encoding_format\"", 17);
        answer.count = count_inputs(body, stop);
        answer.kind = format && memmem(format, stop - format > 32 ? 32 : stop - format, "base64", 6);
    } else if (!memmem(request, line - request, "/chat/", 6)) {
        answer.bytes = completion.bytes, answer.size = completion.size;
    }
    return answer;
}

static void drop(int descriptor) {
    struct connection *connection = &connections[descriptor];
    close(descriptor);
    free(connection->output);
    free(connection->input);
    *connection = (struct connection){0};
}

static void push(int descriptor) {
    struct connection *connection = &connections[descriptor];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    while (connection->sent < connection->size) {
        ssize_t wrote = send(descriptor, connection->output + connection->sent,
                             connection->size - connection->sent, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EAGAIN) { event.events |= EPOLLOUT; break; }
        if (wrote < 0) { drop(descriptor); return; }
        connection->sent += wrote;
    }
    if (connection->sent == connection->size) connection->sent = connection->size = 0;
    epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

static void append(struct connection *connection, const char *bytes, size_t size) {
    if (connection->room < connection->size + size) {
        connection->room = connection->size + size;
        if (!(connection->output = realloc(connection->output, connection->room))) fail("realloc");
    }
    memcpy(connection->output + connection->size, bytes, size);
    connection->size += size;
}

static void reply(int descriptor, struct answer answer) {
    struct connection *connection = &connections[descriptor];
    char start[256], tail_text[160];
    if (!connection->input) return;                         /* it went away while it waited */
    if (!answer.count && !connection->size) {
        ssize_t wrote = send(descriptor, answer.bytes, answer.size, MSG_NOSIGNAL);
        if (wrote == (ssize_t)answer.size) return;
        if (wrote > 0) answer.bytes += wrote, answer.size -= wrote;
    }
    if (!answer.count) {
        append(connection, answer.bytes, answer.size);
    } else {
        struct vectors *vectors = &encoded[answer.kind];
        size_t size = vectors->ends[answer.count];
        int after = snprintf(tail_text, sizeof tail_text,
            "],\"model\":\"simulator-hashing-256\",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}",
            answer.count * 40, answer.count * 40);
        static const char before[] = "{\"object\":\"list\",\"data\":[";
        int header = snprintf(start, sizeof start,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            sizeof before - 1 + size + after, before);
        struct iovec parts[3] = {{start, header}, {vectors->text.bytes, size}, {tail_text, after}};
        ssize_t wrote = connection->size ? 0 : writev(descriptor, parts, 3);
        for (int part = 0; part < 3; part++) {
            size_t skip = wrote <= 0 ? 0 : (size_t)wrote > parts[part].iov_len ? parts[part].iov_len : (size_t)wrote;
            append(connection, (char *)parts[part].iov_base + skip, parts[part].iov_len - skip);
            if (wrote > 0) wrote -= skip;
        }
    }
    if (connection->size) push(descriptor);
}

static void serve(int descriptor, struct answer answer) {
    double arrived, begin;
    int best = 0;
    if (service <= 0) { reply(descriptor, answer); return; }
    arrived = begin = now();
    for (int slot = 1; slot < slots; slot++) if (slot_free[slot] < slot_free[best]) best = slot;
    if (slots && slot_free[best] > arrived) begin = slot_free[best];
    slot_free[best] = begin + service;
    queue[tail++ % MOST_CONNECTIONS] = (struct waiting){descriptor, answer, begin + service};
}

static void take_requests(int descriptor) {
    struct connection *connection = &connections[descriptor];
    while (connection->filled) {
        char *start = connection->input, *stop = start + connection->filled;
        char *body = memmem(start, connection->filled, "\r\n\r\n", 4);
        char *length = body ? strcasestr(start, "\r\ncontent-length:") : NULL;
        if (!body) return;
        body += 4;
        size_t size = length && length < body ? strtoul(length + 17, NULL, 10) : 0;
        if (body + size > stop) return;
        if (!served++) { printf("first %.6f\n", now()); fflush(stdout); }
        struct answer answer = choose(start, body, body + size);
        connection->filled = stop - (body + size);
        memmove(start, body + size, connection->filled);
        start[connection->filled] = 0;
        serve(descriptor, answer);
        if (!connection->input) return;
    }
}

static void read_from(int descriptor) {
    struct connection *connection = &connections[descriptor];
    ssize_t got = recv(descriptor, connection->input + connection->filled, LARGEST_REQUEST - connection->filled, 0);
    if (got <= 0) { if (got == 0 || errno != EAGAIN) drop(descriptor); return; }
    connection->filled += got;
    connection->input[connection->filled] = 0;
    take_requests(descriptor);
}

static void welcome(int listener) {
    int descriptor, yes = 1;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
        if (descriptor >= MOST_CONNECTIONS) { close(descriptor); continue; }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (!(connections[descriptor].input = malloc(LARGEST_REQUEST + 1))) fail("malloc");
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
    }
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, MOST_CONNECTIONS)) fail("bind");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static int answer_due(void) {
    while (head < tail) {
        struct waiting *first = &queue[head % MOST_CONNECTIONS];
        double left = first->due - now();
        if (left > 0) return left * 1000 + 1;
        head++;
        reply(first->descriptor, first->answer);
    }
    return 1000;
}

static void read_arguments(int count, char **values, int *port) {
    for (int at = 1; at + 1 < count; at += 2) {
        double value = atof(values[at + 1]);
        if (!strcmp(values[at], "--port")) *port = value;
        else if (!strcmp(values[at], "--dims")) dims = value;
        else if (!strcmp(values[at], "--items")) items = value;
        else if (!strcmp(values[at], "--indented")) indented = value;
        else if (!strcmp(values[at], "--service-ms")) service = value / 1000;
        else if (!strcmp(values[at], "--slots")) slots = value > MOST_SLOTS ? MOST_SLOTS : value;
        else if (!strcmp(values[at], "--refuse-after")) refuse_after = value;
        else { fprintf(stderr, "unknown flag %s\n", values[at]); exit(2); }
    }
}

int main(int count, char **values) {
    struct epoll_event events[256], event = {.events = EPOLLIN};
    struct rusage used;
    struct sigaction action = {.sa_handler = end};
    int port = 0;
    read_arguments(count, values, &port);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigaction(SIGTERM, &action, NULL);
    if (!(queue = calloc(MOST_CONNECTIONS, sizeof *queue))) fail("calloc");
    make_vectors(0);
    make_vectors(1);
    make_texts();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = event.data.fd = listen_on(port);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    while (!ended) {
        int wait = answer_due();
        int ready = epoll_wait(epoll, events, 256, wait);
        for (int at = 0; at < ready; at++) {
            int descriptor = events[at].data.fd;
            if (descriptor == listener) welcome(listener);
            else if (!connections[descriptor].input) continue;
            else if (events[at].events & EPOLLOUT) push(descriptor);
            else read_from(descriptor);
        }
    }
    getrusage(RUSAGE_SELF, &used);
    printf("served %ld cpu %.6f\n", served, used.ru_utime.tv_sec + used.ru_stime.tv_sec +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
