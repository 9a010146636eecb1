// A hierarchical navigable small world graph: vectors are inserted in batches, and walked best first.
//
// The steps are those of Malkov and Yashunin (TPAMI 2018), with their numbers in brackets. A batch is inserted at once: its
// vectors walk the graph that the batch before left, are compared with those before them in the batch, and choose; then
// each row that was chosen takes them in. So the graph is the same under any number of threads.
//
// A vector that is equal to an earlier one is its twin: no part of the graph, its only link leads to that one.
//
// Shapes   vectors (n, width) float32; links of layer 0 (n, 2 m) and of those above (sum of levels, m) int32, -1 where there
//          are fewer; a vector of level l has l rows above, the first at starts[id]

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include <omp.h>

extern "C" {

// Mirrored field by field in hnsw.py.
struct Graph {
  const float *vectors;          // rows of `width` numbers, and by `distance` one more
  int64_t stride, width, m;      // stride: of rows, in numbers
  int64_t count;                 // of the vectors that are linked
  int64_t distance;              // 0: by the product; 1: by the distance, each row ends with -|d|^2 / 2
  int32_t *links, *upper;
  const uint8_t *levels;
  const int64_t *starts;
};

}  // extern "C"

namespace {

struct Near {
  float score;
  int32_t id;
  bool followed, counts;
};

// Of equal ones the last that was put in comes first: so many equal vectors form a band, each linked to those beside it.
inline bool before(const Near &a, const Near &b) { return a.score > b.score || (a.score == b.score && a.id > b.id); }

struct Damaged {};

constexpr uint8_t twin = 254;  // in a level's place, as in hnsw.py

typedef float Lane __attribute__((vector_size(64)));

inline Lane lane(const float *from) {
  Lane value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline float product(const float *__restrict__ a, const float *__restrict__ b, int64_t width) {
  constexpr int64_t one = 16, four = 4 * one;
  Lane s0{}, s1{}, s2{}, s3{};
  int64_t d = 0;
  for (; d + four <= width; d += four) {
    s0 += lane(a + d) * lane(b + d);
    s1 += lane(a + d + one) * lane(b + d + one);
    s2 += lane(a + d + 2 * one) * lane(b + d + 2 * one);
    s3 += lane(a + d + 3 * one) * lane(b + d + 3 * one);
  }
  for (; d + one <= width; d += one) s0 += lane(a + d) * lane(b + d);
  const Lane all = (s0 + s1) + (s2 + s3);
  float sum = 0.0f;
  for (int64_t i = 0; i < one; ++i) sum += all[i];
  for (; d < width; ++d) sum += a[d] * b[d];
  return sum;
}

inline const float *row_of(const Graph &g, int64_t id) { return g.vectors + id * g.stride; }

// What is asked: a stored vector, or a query, whose own length changes no order.
struct Asked {
  const float *row;
  float half;
};

inline Asked stored(const Graph &g, int64_t id) {
  const float *row = row_of(g, id);
  return {row, g.distance ? row[g.width] : 0.0f};
}

// The larger, the nearer: the product, or minus half of the squared distance.
inline float score(const Graph &g, const Asked &a, int64_t id) {
  const float *row = row_of(g, id);
  const float found = product(a.row, row, g.width);
  return g.distance ? found + (a.half + row[g.width]) : found;
}

inline int64_t room(const Graph &g, int64_t layer) { return layer ? g.m : 2 * g.m; }

inline int32_t *links_of(const Graph &g, int64_t id, int64_t layer) {
  return layer ? g.upper + (g.starts[id] + layer - 1) * g.m : g.links + id * 2 * g.m;
}

// What one thread needs for its walks.
struct Walk {
  std::vector<uint64_t> seen;
  std::vector<int32_t> marked, fresh;
  std::vector<Near> queue;
  int64_t counted = 0, products = 0;

  void start(int64_t count) {
    seen.resize((count + 63) / 64, 0);
    for (int32_t id : marked) seen[id >> 6] = 0;
    marked.clear();
    queue.clear();
    counted = 0;
  }

  bool mark(int32_t id) {
    const uint64_t bit = uint64_t(1) << (id & 63);
    if (seen[id >> 6] & bit) return false;
    seen[id >> 6] |= bit;
    marked.push_back(id);
    return true;
  }

  // Puts a vector into the sorted queue, which ends with the `most`-th one that counts; its place, or the queue's end.
  int64_t put(Near found, int64_t most) {
    if (counted == most && !before(found, queue.back())) return queue.size();
    const int64_t place = std::lower_bound(queue.begin(), queue.end(), found, before) - queue.begin();
    queue.insert(queue.begin() + place, found);
    counted += found.counts;
    if (counted > most) {
      while (!queue.back().counts) queue.pop_back();
      queue.pop_back();
      --counted;
    }
    if (counted == most)
      while (!queue.back().counts) queue.pop_back();
    return place;
  }
};

inline void fetch(const Graph &g, int32_t id) {
  constexpr int64_t line = 64;  // bytes that the processor fetches at a time
  const char *row = reinterpret_cast<const char *>(row_of(g, id));
  for (int64_t at = 0; at < g.width * static_cast<int64_t>(sizeof(float)); at += line) __builtin_prefetch(row + at);
}

// Compares with the fresh ones, and gives the best place that one of them took.
inline int64_t take(const Graph &g, const Asked &asked, int64_t most, const uint8_t *alive, Walk &w) {
  constexpr size_t ahead = 6;
  int64_t next = INT64_MAX;
  for (size_t n = 0; n < std::min(ahead, w.fresh.size()); ++n) fetch(g, w.fresh[n]);
  for (size_t n = 0; n < w.fresh.size(); ++n) {
    if (n + ahead < w.fresh.size()) fetch(g, w.fresh[n + ahead]);
    const int32_t id = w.fresh[n];
    const Near found{score(g, asked, id), id, false, !alive || alive[id]};
    next = std::min(next, w.put(found, most));
  }
  w.products += w.fresh.size();
  return next;
}

// The `most` nearest on a layer (algorithm 2), from those in `entries`; where `alive` is given, of those alive: the others
// are walked through. The queue then holds them, the best first, between them others.
void walk(const Graph &g, const Asked &asked, int64_t layer, int64_t most, const std::vector<int32_t> &entries,
          const uint8_t *alive, Walk &w) {
  w.start(g.count);
  w.fresh.clear();
  for (int32_t id : entries)
    if (w.mark(id)) w.fresh.push_back(id);
  take(g, asked, most, alive, w);
  const int64_t each = room(g, layer);
  for (int64_t place = 0; place < static_cast<int64_t>(w.queue.size());) {
    if (w.queue[place].followed) {
      ++place;
      continue;
    }
    w.queue[place].followed = true;
    const int32_t *links = links_of(g, w.queue[place].id, layer);
    w.fresh.clear();
    for (int64_t n = 0; n < each && links[n] >= 0; ++n) {
      if (links[n] >= g.count || g.levels[links[n]] < layer || g.levels[links[n]] >= twin) throw Damaged{};
      if (w.mark(links[n])) w.fresh.push_back(links[n]);
    }
    place = std::min(place + 1, take(g, asked, most, alive, w));
  }
}

// The vector from which all walks begin: the first of the highest level.
inline int32_t entry_of(const Graph &g) {
  const auto lower = [](uint8_t a, uint8_t b) { return (a < twin ? a + 1 : 0) < (b < twin ? b + 1 : 0); };
  return std::max_element(g.levels, g.levels + g.count, lower) - g.levels;
}

// From the top down to above `layer`, each time from the nearest of the layer above.
void descend(const Graph &g, const Asked &asked, int32_t entry, int64_t layer, std::vector<int32_t> &entries, Walk &w) {
  entries.assign(1, entry);
  for (int64_t l = g.levels[entry]; l > layer; --l) {
    walk(g, asked, l, 1, entries, nullptr, w);
    entries.assign(1, w.queue[0].id);
  }
}

// Of candidates, the best first, those to which no one kept before lies nearer than the target does (algorithm 4, whose
// other candidates stay out). Where both lie as near it stays, so that equal vectors lead to one another.
void choose(const Graph &g, const std::vector<Near> &candidates, int64_t most, std::vector<int32_t> &kept) {
  kept.clear();
  for (const Near &one : candidates) {
    if (static_cast<int64_t>(kept.size()) == most) break;
    const Asked mine = stored(g, one.id);
    bool hidden = false;
    for (size_t n = 0; n < kept.size() && !hidden; ++n) hidden = score(g, mine, kept[n]) > one.score;
    if (!hidden) kept.push_back(one.id);
  }
}

// A link to be made: on `layer`, from a row to a new vector.
struct Link {
  int32_t layer, from, to;
};

inline bool earlier(const Link &a, const Link &b) {
  if (a.layer != b.layer) return a.layer < b.layer;
  return a.from != b.from ? a.from < b.from : a.to < b.to;
}

struct Inserter {
  Graph &g;
  const int64_t construction, threads;
  std::vector<Walk> walks;
  std::vector<std::vector<Link>> chosen;  // by each vector of the batch

  template <typename Do>
  void each(int64_t count, Do act) const {
    std::atomic<int> failed{0};  // nothing thrown may leave a parallel loop
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads)
    for (int64_t n = 0; n < count; ++n) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        act(n);
      } catch (const Damaged &) {
        failed = 2;
      } catch (...) {
        failed = 1;
      }
    }
    if (failed == 2) throw Damaged{};
    if (failed) throw std::bad_alloc();
  }

  // The neighbours of one vector on each of its layers (algorithm 1), among those linked and those before it in the batch.
  void look(int64_t id, int32_t entry, Walk &w, std::vector<Link> &links) const {
    links.clear();
    if (g.levels[id] >= twin) return;
    const Asked asked = stored(g, id);
    const int64_t level = g.levels[id];
    std::vector<Near> peers, candidates;
    for (int64_t other = g.count; other < id; ++other)
      if (g.levels[other] < twin) peers.push_back({score(g, asked, other), static_cast<int32_t>(other), false, true});
    std::sort(peers.begin(), peers.end(), before);
    std::vector<int32_t> entries, kept;
    if (g.count) descend(g, asked, entry, level, entries, w);
    for (int64_t layer = level; layer >= 0; --layer) {
      candidates.clear();
      if (g.count && layer <= g.levels[entry]) {
        walk(g, asked, layer, construction, entries, nullptr, w);
        entries.clear();
        for (const Near &one : w.queue) entries.push_back(one.id);
        candidates = w.queue;
      }
      for (const Near &one : peers)
        if (g.levels[one.id] >= layer) candidates.push_back(one);
      std::sort(candidates.begin(), candidates.end(), before);
      if (static_cast<int64_t>(candidates.size()) > construction) candidates.resize(construction);
      choose(g, candidates, g.m, kept);
      for (int32_t other : kept) links.push_back({static_cast<int32_t>(layer), other, static_cast<int32_t>(id)});
    }
  }

  // A row takes in new vectors; where it has no room, it chooses anew.
  void take_in(const Link *first, const Link *last) const {
    const int64_t layer = first->layer, from = first->from, most = room(g, layer);
    int32_t *links = links_of(g, from, layer);
    const int64_t held = std::find(links, links + most, -1) - links;
    if (held + (last - first) <= most) {
      for (int64_t n = held; first != last; ++first) links[n++] = first->to;
      return;
    }
    const Asked asked = stored(g, from);
    std::vector<Near> candidates;
    const auto add = [&](int32_t id) { candidates.push_back({score(g, asked, id), id, false, true}); };
    std::for_each(links, links + held, add);
    for (; first != last; ++first) add(first->to);
    std::sort(candidates.begin(), candidates.end(), before);
    std::vector<int32_t> kept;
    choose(g, candidates, most, kept);
    std::fill(std::copy(kept.begin(), kept.end(), links), links + most, -1);
  }

  void insert(int64_t last) {
    const int64_t first = g.count;
    const int32_t entry = first ? entry_of(g) : 0;
    chosen.resize(last - first);
    each(last - first, [&](int64_t n) { look(first + n, entry, walks[omp_get_thread_num()], chosen[n]); });
    std::vector<Link> back;
    for (int64_t n = 0; n < last - first; ++n) {
      if (chosen[n].empty()) continue;
      std::vector<int64_t> held(g.levels[first + n] + 1, 0);
      for (const Link &one : chosen[n]) links_of(g, one.to, one.layer)[held[one.layer]++] = one.from;
      back.insert(back.end(), chosen[n].begin(), chosen[n].end());
    }
    std::sort(back.begin(), back.end(), earlier);
    std::vector<size_t> starts;
    for (size_t n = 0; n < back.size(); ++n)
      if (!n || back[n].layer != back[n - 1].layer || back[n].from != back[n - 1].from) starts.push_back(n);
    starts.push_back(back.size());
    each(starts.size() - 1, [&](int64_t n) { take_in(&back[starts[n]], back.data() + starts[n + 1]); });
    g.count = last;
  }
};

// Links vectors to which no way leads on layer 0, since others' links were chosen anew: each from the first of those that it
// is linked to, and of those that these are, to which a way leads and which has room.
void attach(Graph &g) {
  const int64_t most = room(g, 0);
  std::vector<char> seen(g.count, 0);
  std::vector<int32_t> open;
  const auto follow = [&](int32_t id) {
    seen[id] = 1;
    for (open.assign(1, id); !open.empty();) {
      const int32_t *links = links_of(g, open.back(), 0);
      open.pop_back();
      for (int64_t n = 0; n < most && links[n] >= 0; ++n) {
        if (links[n] >= g.count) throw Damaged{};
        if (!seen[links[n]]) seen[links[n]] = 1, open.push_back(links[n]);
      }
    }
  };
  const auto place_at = [&](int32_t id) {
    const int32_t *near = links_of(g, id, 0);
    for (int64_t n = 0; n < most && near[n] >= 0; ++n) {
      if (near[n] >= g.count) throw Damaged{};
      int32_t *links = links_of(g, near[n], 0), *end = std::find(links, links + most, -1);
      if (seen[near[n]] && end != links + most) return end;
    }
    return static_cast<int32_t *>(nullptr);
  };
  const auto place = [&](int32_t id) {
    const int32_t *near = links_of(g, id, 0);
    int32_t *at = place_at(id);
    for (int64_t n = 0; !at && n < most && near[n] >= 0; ++n) at = place_at(near[n]);
    return at;
  };
  follow(entry_of(g));
  for (bool again = true; again;) {
    again = false;
    for (int64_t id = 0; id < g.count; ++id) {
      int32_t *at = seen[id] || g.levels[id] >= twin ? nullptr : place(id);
      if (!at) continue;
      *at = id;
      follow(id);
      again = true;
    }
  }
}

}  // namespace

extern "C" {

// Each of these gives 0: done; 1: there was no memory; 2: a link leads to no vector.

// Links the vectors from g->count to `last`, whose rows of links hold -1, in batches.
int foveal_hnsw_insert(Graph *g, int64_t last, int64_t batch, int64_t construction, int64_t threads) {
  try {
    Inserter inserter{*g, construction, threads, std::vector<Walk>(threads), {}};
    while (g->count < last) inserter.insert(std::min(last, g->count + batch));
    return 0;
  } catch (const Damaged &) {
    return 2;
  } catch (...) {
    return 1;
  }
}

// Makes ways to vectors to which none leads.
int foveal_hnsw_attach(Graph *g) {
  try {
    attach(*g);
    return 0;
  } catch (const Damaged &) {
    return 2;
  } catch (...) {
    return 1;
  }
}

// queries (count, width) -> ids and scores (count, k) of the best vectors that are alive (algorithm 5), -1 where fewer were
// found, and the vectors compared with each query (count). `entry`: where walks begin; `effort`: candidates that one keeps.
int foveal_hnsw_search(const Graph *g, const float *queries, int64_t count, int64_t entry, int64_t effort, int64_t k,
                       const uint8_t *alive, int64_t threads, int64_t *ids, float *scores, int64_t *compared) {
  std::atomic<int> failed{0};
#pragma omp parallel num_threads(threads)
  {
    Walk w;
    std::vector<int32_t> entries;
#pragma omp for schedule(dynamic, 1)
    for (int64_t q = 0; q < count; ++q) {
      try {
        const Asked asked{queries + q * g->width, 0.0f};
        w.products = 0;
        descend(*g, asked, entry, 0, entries, w);
        walk(*g, asked, 0, std::max(effort, k), entries, alive, w);
        int64_t found = 0;
        for (size_t n = 0; n < w.queue.size() && found < k; ++n) {
          if (!w.queue[n].counts) continue;
          ids[q * k + found] = w.queue[n].id;
          scores[q * k + found++] = w.queue[n].score;
        }
        std::fill(ids + q * k + found, ids + (q + 1) * k, -1);
        std::fill(scores + q * k + found, scores + (q + 1) * k, 0.0f);
        compared[q] = w.products;
      } catch (const Damaged &) {
        failed = 2;
      } catch (...) {
        failed = 1;
      }
    }
  }
  return failed.load();
}

}  // extern "C"
