#ifndef SLUICE_CLIENT_H_
#define SLUICE_CLIENT_H_

/*
 * Sluice's client for C and for every language that can call C: brings a caller's rows into a
 * SQLite file and keeps them current. clients/cpp/README.md has an example; libsluice_client.so
 * exports these functions and nothing else.
 *
 * Threads: one thread at a time uses a client, but for sluice_client_cancel(), which any thread may
 * call until sluice_client_close() begins. Callbacks run on the thread that called pull or follow,
 * before that call returns; of this header they may call sluice_client_cancel() only. Different
 * clients are independent. Read the file through connections of your own, on any thread.
 *
 * Ownership: texts given in are copied before the call returns. Texts given out belong to the
 * client and live until its next call or its close; those of a callback's arguments end with it.
 *
 * No function throws or ends the process. Unknown values of sluice_code may come from later
 * versions.
 */

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SLUICE_CLIENT_API __attribute__((visibility("default")))
#else
#define SLUICE_CLIENT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call. The numbers never change. sluice_client_error_code() says more. */
typedef enum sluice_code {
  SLUICE_OK = 0,
  SLUICE_CANCELLED = 1, /* by sluice_client_cancel() */
  SLUICE_INVALID = 2,   /* an argument, or a request that the server did not understand */
  SLUICE_REFUSED = 3,   /* the server refuses this caller: 401, 403, 404; sign in or ask an admin */
  SLUICE_UNAVAILABLE = 4, /* no network or no server, after all attempts; pull again later */
  SLUICE_FILE = 5,        /* the SQLite file: in use, of another organisation, not writable */
  SLUICE_DISK_FULL = 6,   /* nothing is lost; make room and pull again */
  SLUICE_DATA_LOSS = 7,   /* the file or what the server sent is damaged; nothing of it is shown */
  SLUICE_INTERNAL = 8,    /* a defect */
  SLUICE_REVOKED = 9      /* refused for good: the server says that what the file holds of the
                             organisation is no longer the caller's; sluice_client_wipe() */
} sluice_code;

typedef struct sluice_client sluice_client;

/*
 * Writes the bearer token for the next connection into `buffer`, without a terminating zero, and
 * returns its length; called anew for each connection, so that the token may be refreshed. A length
 * above `size` writes nothing: it is called again with room for that many (up to 64 KiB). 0 says
 * that there is none: the call ends with SLUICE_REFUSED, code "no_token".
 */
typedef size_t (*sluice_token_fn)(void* context, char* buffer, size_t size);

typedef struct sluice_client_options {
  size_t struct_size;    /* set by sluice_client_options_init() */
  const char* url;       /* of the sync listener, such as https://acme.example.org; where it names
                            another node of the service (307), the token goes there too */
  const char* org;       /* organisation */
  const char* db_path;   /* SQLite file; made when missing */
  const char* ca_file;   /* PEM of the authorities for https; NULL: the system's */
  sluice_token_fn token; /* required */
  void* token_context;   /* first argument of `token` */
  int32_t attempts_max;  /* connections that fail in a row before a pull gives up; 8 */
  int64_t backoff_first_ms; /* wait before the second attempt at most, then doubled; 200 */
  int64_t backoff_max_ms;   /* 30000 */
  int64_t silence_max_ms;   /* no byte for this long ends a connection; 60000 */
} sluice_client_options;

/* What a pull, or a follow so far, brought. Stays as it is as long as the library's SOVERSION. */
typedef struct sluice_pull_result {
  int64_t position;          /* of the last complete checkpoint; -1: none yet */
  uint64_t checkpoints;      /* completed */
  uint64_t rows_put;         /* rows of the tables that came or changed, each counted once a
                                checkpoint, whatever number of buckets holds it */
  uint64_t rows_removed;     /* rows of the tables that went */
  uint64_t bytes_received;   /* of the streams' bodies */
  uint64_t buckets;          /* sets of rows that make up what the caller may hold */
  uint64_t buckets_reset;    /* sent anew because the server said so */
  uint64_t buckets_reloaded; /* loaded anew, not being what was announced */
  uint64_t reconnects;
} sluice_pull_result;

typedef struct sluice_pull_progress {
  uint64_t rows_done;
  uint64_t rows_total; /* as the checkpoint announces; may change while a load runs */
  uint64_t bytes_received;
} sluice_pull_progress;

/* After each complete checkpoint; `result` has the totals so far. */
typedef void (*sluice_checkpoint_fn)(void* context, const sluice_pull_result* result);
/* Now and then while a load runs. */
typedef void (*sluice_progress_fn)(void* context, const sluice_pull_progress* progress);

/* The library's version, such as "0.1.0". Any thread. */
SLUICE_CLIENT_API const char* sluice_client_version(void);

/* Fills in struct_size and the defaults; everything else is NULL. */
SLUICE_CLIENT_API void sluice_client_options_init(sluice_client_options* options);

/*
 * Opens the file and makes a client for it; nothing is sent yet. *client is set also on failure,
 * for the error's texts (NULL only without memory, or when `client` is NULL): close it in any case.
 * A second client on the same file, in this or another process, is SLUICE_FILE, "database_in_use".
 */
SLUICE_CLIENT_API sluice_code sluice_client_open(const sluice_client_options* options,
                                                 sluice_client** client);

/* Sets who is told how far a load is; NULL: nobody. `context` must live as long as it is set. */
SLUICE_CLIENT_API void sluice_client_on_progress(sluice_client* client, sluice_progress_fn callback,
                                                 void* context);

/*
 * Brings the file to the server's newest checkpoint and returns. Blocks; repeats broken connections
 * with growing waits. `result` may be NULL; it is filled in on SLUICE_OK only. On failure readers
 * of the file still see the last complete checkpoint, and the next pull goes on from there.
 */
SLUICE_CLIENT_API sluice_code sluice_client_pull(sluice_client* client, sluice_pull_result* result);

/*
 * Pulls, then applies changes as they come, until cancelled (SLUICE_OK) or refused. Comes back for
 * ever after a broken connection. `on_checkpoint` may be NULL.
 */
SLUICE_CLIENT_API sluice_code sluice_client_follow(sluice_client* client,
                                                   sluice_checkpoint_fn on_checkpoint,
                                                   void* context);

/* Ends a running pull or follow soon and all later ones at once. Any thread, any callback. */
SLUICE_CLIENT_API void sluice_client_cancel(sluice_client* client);

/* The stable code of the last call's error, such as "database_in_use" or the server's; "" after
 * success. */
SLUICE_CLIENT_API const char* sluice_client_error_code(const sluice_client* client);
/* What went wrong and what to do, in English, for a log or a developer; "" after success. */
SLUICE_CLIENT_API const char* sluice_client_error_message(const sluice_client* client);

/*
 * After SLUICE_REVOKED, or whenever the application wants to: deletes the organisation's rows and
 * all of the client's own state, overwrites what was there, and closes the file. Tables that the
 * application made stay. SLUICE_OK also when it was done before; every other call is SLUICE_INVALID
 * then, but for sluice_client_close(). SLUICE_FILE, code "database_in_use", where a reader of the
 * file still sees the rows: whoever looks from now on does not, and another call, when that reader
 * has ended its transaction, overwrites the rest. Waits up to 10 s for readers.
 */
SLUICE_CLIENT_API sluice_code sluice_client_wipe(sluice_client* client);

/* Ends the client; no call may run. NULL is allowed. */
SLUICE_CLIENT_API void sluice_client_close(sluice_client* client);

#ifdef __cplusplus
}
#endif

#endif /* SLUICE_CLIENT_H_ */
