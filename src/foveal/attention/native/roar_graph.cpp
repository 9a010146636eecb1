// The attention-aware graph over a head's keys: built from what its queries looked at, walked best first, added to.
//
// The steps are those of RoarGraph (Chen et al., VLDB 2024) by inner products, in an order that does not hang on threads:
// each step reads what the step before left and writes rows of its own. roar_plain.py says the same in Python.
//
// Shapes   keys (n, width), float32 or bfloat16, in two parts (a file that was mapped, and what was added since);
//          links (n, degree) int32, -1 where there are fewer

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include <omp.h>

extern "C" {

// Mirrored field by field in roar_graph.py.
struct Graph {
  const void *keys, *more_keys;
  int32_t *links, *more_links;
  int64_t base, count, width, degree, stride, more_stride;  // strides of keys, in elements
  const int32_t *entries;
  int64_t entry_count;
  int64_t bfloat16;
};

struct Build {
  const float *keys;     // (count, width), dense
  const int32_t *lists;  // (queries, nearest): each training query's keys, best first
  int64_t count, width, queries, nearest;
  int64_t near, degree, beam;  // links of the projection, of the whole, and the queue that connects
  int32_t *links;              // out (count, degree)
  const int32_t *entries;
  int64_t entry_count, threads;
  int64_t covered, cut_off;  // out: keys that the projection reached; those that had to be attached
};

// For adding: products of keys are those of (key - mean) * shape, so that pruning sees what building saw.
struct Shape {
  const float *mean, *shape;  // (width), (width, width); shape null: none
};

}  // extern "C"

namespace {

struct Damaged {};  // links that were read from a file lead to no key

inline int32_t sound(int32_t id, int64_t count) {
  if (id < 0 || id >= count) throw Damaged();
  return id;
}

struct Near {
  float score;
  int32_t id;
};

inline bool before(const Near &a, const Near &b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

inline float wide(float value) { return value; }

inline float wide(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

template <typename T>
inline float sum_of_products(const float *__restrict__ a, const T *__restrict__ b, int64_t width) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < width; ++d) sum += a[d] * wide(b[d]);
  return sum;
}

// The usual widths are known to the compiler, which needs no loop for them then.
template <typename T>
inline float product(const float *__restrict__ a, const T *__restrict__ b, int64_t width) {
  if (width == 64) return sum_of_products(a, b, 64);
  if (width == 128) return sum_of_products(a, b, 128);
  return sum_of_products(a, b, width);
}

template <typename T>
inline const T *row_of(const Graph &g, int64_t id) {
  return id < g.base ? static_cast<const T *>(g.keys) + id * g.stride
                     : static_cast<const T *>(g.more_keys) + (id - g.base) * g.more_stride;
}

inline int32_t *links_of(const Graph &g, int64_t id) {
  return id < g.base ? g.links + id * g.degree : g.more_links + (id - g.base) * g.degree;
}

// The best keys so far, best first: at most `beam`, each with a mark whether its links were followed. The parts lie apart,
// so that a place is found by comparing many scores at a time.
struct Queue {
  std::vector<float> scores;
  std::vector<int32_t> ids;
  std::vector<char> done;
  int64_t held = 0;

  void clear(int64_t beam) {
    scores.resize(beam);
    ids.resize(beam);
    done.resize(beam);
    held = 0;
  }

  // The place that a key took, or `beam`: there was none.
  int64_t put(Near found) {
    const int64_t beam = scores.size();
    if (held == beam && !before(found, {scores[held - 1], ids[held - 1]})) return beam;
    int32_t above = 0;
#pragma omp simd reduction(+ : above)
    for (int64_t n = 0; n < held; ++n) above += scores[n] > found.score;
    int64_t place = above;
    while (place < held && scores[place] == found.score && ids[place] < found.id) ++place;
    if (held < beam) ++held;
    const int64_t behind = held - 1 - place;
    std::memmove(&scores[place] + 1, &scores[place], behind * sizeof(float));
    std::memmove(&ids[place] + 1, &ids[place], behind * sizeof(int32_t));
    std::memmove(&done[place] + 1, &done[place], behind);
    scores[place] = found.score;
    ids[place] = found.id;
    done[place] = 0;
    return place;
  }
};

// What one thread needs for its walks.
struct Walk {
  std::vector<uint64_t> seen;
  Queue queue;
  std::vector<Near> expanded, scored;
  std::vector<int32_t> fresh;
};

inline bool mark(std::vector<uint64_t> &seen, int64_t id) {
  const uint64_t bit = uint64_t(1) << (id & 63);
  if (seen[id >> 6] & bit) return false;
  seen[id >> 6] |= bit;
  return true;
}

template <typename T>
inline void take(const Graph &g, const float *query, int64_t beam, Walk &w, int64_t &next) {
  constexpr int64_t line = 64;  // bytes that the processor fetches at a time
  for (int32_t id : w.fresh) {
    const char *row = reinterpret_cast<const char *>(row_of<T>(g, id));
    for (int64_t at = 0; at < g.width * static_cast<int64_t>(sizeof(T)); at += line) __builtin_prefetch(row + at);
  }
  for (int32_t id : w.fresh) {
    const float score = product(query, row_of<T>(g, id), g.width);
    w.scored.push_back({score, id});
    const int64_t place = w.queue.put({score, id});
    if (place < beam) __builtin_prefetch(links_of(g, id));  // it may be followed soon
    next = std::min(next, place);
  }
}

// Best-first search with a bounded queue. Afterwards that holds the best, `expanded` all whose links were followed, and
// `scored` all that the query was multiplied with.
template <typename T>
void walk(const Graph &g, const float *query, int64_t beam, Walk &w) {
  w.seen.assign((g.count + 63) / 64, 0);
  w.queue.clear(beam);
  w.expanded.clear();
  w.scored.clear();
  w.fresh.clear();
  for (int64_t e = 0; e < g.entry_count; ++e)
    if (mark(w.seen, sound(g.entries[e], g.count))) w.fresh.push_back(g.entries[e]);
  int64_t next = beam;
  take<T>(g, query, beam, w, next);
  for (int64_t place = 0; place < w.queue.held;) {
    if (w.queue.done[place]) {
      ++place;
      continue;
    }
    w.queue.done[place] = 1;
    const int32_t at = w.queue.ids[place];
    w.expanded.push_back({w.queue.scores[place], at});
    const int32_t *links = links_of(g, at);
    w.fresh.clear();
    for (int64_t n = 0; n < g.degree && links[n] >= 0; ++n)
      if (mark(w.seen, sound(links[n], g.count))) w.fresh.push_back(links[n]);
    next = beam;
    take<T>(g, query, beam, w, next);
    place = std::min(place + 1, next);
  }
}

// The rule of relative neighbourhoods: a candidate goes where one that was kept is nearer to it than the target is.
// `row(id)` gives a candidate's vector; candidates come best first, their scores are the products with the target.
template <typename Row>
void prune(const std::vector<Near> &candidates, int64_t most, int64_t width, bool fill, Row row,
           std::vector<int32_t> &kept) {
  std::vector<const float *> rows;
  std::vector<int32_t> skipped;
  kept.clear();
  for (const Near &c : candidates) {
    if (static_cast<int64_t>(kept.size()) == most) break;
    const float *mine = row(c.id);
    bool hidden = false;
    for (const float *other : rows)
      if (product(mine, other, width) > c.score) {
        hidden = true;
        break;
      }
    if (hidden) {
      skipped.push_back(c.id);
      continue;
    }
    kept.push_back(c.id);
    rows.push_back(mine);
  }
  for (size_t n = 0; fill && n < skipped.size() && static_cast<int64_t>(kept.size()) < most; ++n)
    kept.push_back(skipped[n]);
}

struct Builder {
  Build &b;
  std::vector<std::vector<int32_t>> links;

  const float *row(int64_t id) const { return b.keys + id * b.width; }

  std::vector<Near> near(int32_t target, const std::vector<int32_t> &ids) const {
    std::vector<Near> found;
    found.reserve(ids.size());
    for (int32_t id : ids)
      if (id != target) found.push_back({product(row(target), row(id), b.width), id});
    std::sort(found.begin(), found.end(), before);
    return found;
  }

  void pruned(int32_t target, int64_t most, bool fill, std::vector<int32_t> &kept) const {
    const std::vector<int32_t> ids = kept;
    prune(near(target, ids), most, b.width, fill, [&](int32_t id) { return row(id); }, kept);
  }

  template <typename Do>
  void each(int64_t count, Do act) const {
    std::atomic<bool> failed{false};  // nothing thrown may leave a parallel loop
#pragma omp parallel for schedule(dynamic, 64) num_threads(b.threads)
    for (int64_t n = 0; n < count; ++n) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        act(n);
      } catch (...) {
        failed = true;
      }
    }
    if (failed) throw std::bad_alloc();
  }

  // Adds x -> t for every x in lists[t], in the order of t, then prunes what grew beyond `most`.
  void reversed(const std::vector<std::vector<int32_t>> &lists, const std::vector<int32_t> &targets, int64_t most,
                std::vector<std::vector<int32_t>> &into) const {
    for (size_t n = 0; n < lists.size(); ++n)
      for (int32_t x : lists[n]) {
        auto &held = into[x];
        if (std::find(held.begin(), held.end(), targets[n]) == held.end()) held.push_back(targets[n]);
      }
    each(into.size(), [&](int64_t t) {
      if (static_cast<int64_t>(into[t].size()) > most) pruned(t, most, true, into[t]);
    });
  }

  void project() {
    std::vector<std::vector<int32_t>> lists(b.queries);
    std::vector<int32_t> pivots(b.queries), every(b.count);
    each(b.queries, [&](int64_t n) {
      const int32_t *list = b.lists + n * b.nearest;
      pivots[n] = list[0];
      lists[n].assign(list + 1, list + b.nearest);
      pruned(list[0], b.near, true, lists[n]);
    });
    links.assign(b.count, {});
    for (int64_t n = 0; n < b.queries; ++n) links[pivots[n]] = lists[n];  // the last query of a pivot decides
    reversed(lists, pivots, b.near, links);
    for (int64_t n = 0; n < b.count; ++n) every[n] = n;
    const auto held = links;
    reversed(held, every, b.near, links);
    b.covered = 0;
    for (const auto &row : links) b.covered += !row.empty();
  }

  // The flat form of `links`.
  void write(int64_t degree, std::vector<int32_t> &flat) const {
    flat.assign(b.count * degree, -1);
    for (int64_t t = 0; t < b.count; ++t)
      std::copy_n(links[t].begin(), std::min<int64_t>(degree, links[t].size()), flat.begin() + t * degree);
  }

  Graph graph(std::vector<int32_t> &flat, int64_t degree) const {
    return {b.keys, nullptr, flat.data(), nullptr, b.count, b.count, b.width, degree, b.width, 0, b.entries,
            b.entry_count, 0};
  }

  // Every key looks for itself; what it passes on the way and is not yet linked to becomes its neighbour.
  void connect(std::vector<std::vector<int32_t>> &passed) {
    std::vector<int32_t> flat, every(b.count);
    write(b.near, flat);
    const Graph g = graph(flat, b.near);
    std::vector<Walk> walks(b.threads);
    std::vector<std::vector<int32_t>> more(b.count);
    passed.assign(b.count, {});
    const int64_t most = b.degree - b.near;
    each(b.count, [&](int64_t t) {
      Walk &w = walks[omp_get_thread_num()];
      walk<float>(g, row(t), b.beam, w);
      std::vector<Near> found;
      for (const Near &one : w.expanded)
        if (one.id != t) found.push_back(one);
      std::sort(found.begin(), found.end(), before);
      for (size_t n = 0; n < found.size() && n < 16; ++n) passed[t].push_back(found[n].id);
      const auto &mine = links[t];
      auto first = found.begin();
      while (first != found.end() && std::find(mine.begin(), mine.end(), first->id) != mine.end()) ++first;
      found.erase(found.begin(), first);
      prune(found, most, b.width, false, [&](int32_t id) { return row(id); }, more[t]);
    });
    for (int64_t n = 0; n < b.count; ++n) every[n] = n;
    const auto held = more;
    reversed(held, every, most, more);
    for (int64_t t = 0; t < b.count; ++t)
      for (int32_t id : more[t])
        if (std::find(links[t].begin(), links[t].end(), id) == links[t].end()) links[t].push_back(id);
  }

  std::vector<char> reached() const {
    std::vector<char> seen(b.count, 0);
    std::vector<int32_t> open;
    for (int64_t e = 0; e < b.entry_count; ++e)
      if (!seen[b.entries[e]]) seen[b.entries[e]] = 1, open.push_back(b.entries[e]);
    while (!open.empty()) {
      const int32_t at = open.back();
      open.pop_back();
      for (int32_t id : links[at])
        if (!seen[id]) seen[id] = 1, open.push_back(id);
    }
    return seen;
  }

  // Keys that no walk can reach are linked from the best key they passed that has room, or from any that has.
  void attach(const std::vector<std::vector<int32_t>> &passed) {
    auto seen = reached();
    b.cut_off = 0;
    int64_t spare = 0;
    for (int64_t t = 0; t < b.count; ++t) {
      if (seen[t]) continue;
      int32_t from = -1;
      for (int32_t id : passed[t])
        if (seen[id] && static_cast<int64_t>(links[id].size()) < b.degree) {
          from = id;
          break;
        }
      while (from < 0 && spare < b.count) {
        if (seen[spare] && static_cast<int64_t>(links[spare].size()) < b.degree) from = spare;
        else ++spare;
      }
      if (from < 0) break;
      links[from].push_back(t);
      ++b.cut_off;
      std::vector<int32_t> open{static_cast<int32_t>(t)};
      seen[t] = 1;
      while (!open.empty()) {
        const int32_t at = open.back();
        open.pop_back();
        for (int32_t id : links[at])
          if (!seen[id]) seen[id] = 1, open.push_back(id);
      }
    }
  }
};

// One more key, whose links lie empty: searched for by its own products, pruned, linked both ways.
struct Adder {
  Graph &g;
  const Shape &shape;
  std::vector<float> shaped;

  template <typename T>
  void place(int64_t id, float *out) const {
    const T *key = row_of<T>(g, id);
    std::vector<float> centred(g.width);
    for (int64_t d = 0; d < g.width; ++d) {
      if constexpr (std::is_same_v<T, float>) centred[d] = key[d];
      else centred[d] = wide(key[d]);
      centred[d] -= shape.mean[d];
    }
    if (!shape.shape) {
      std::copy(centred.begin(), centred.end(), out);
      return;
    }
    for (int64_t d = 0; d < g.width; ++d) out[d] = 0.0f;
    for (int64_t e = 0; e < g.width; ++e)
      for (int64_t d = 0; d < g.width; ++d) out[d] += centred[e] * shape.shape[e * g.width + d];
  }

  template <typename T>
  std::vector<int32_t> chosen(int64_t target, const std::vector<int32_t> &ids, int64_t most) {
    const int64_t width = g.width;
    shaped.resize((ids.size() + 1) * width);
    place<T>(target, shaped.data());
    std::vector<Near> found;
    for (size_t n = 0; n < ids.size(); ++n) {
      float *mine = shaped.data() + (n + 1) * width;
      place<T>(sound(ids[n], g.count), mine);
      found.push_back({product(shaped.data(), mine, width), static_cast<int32_t>(n)});
    }
    std::sort(found.begin(), found.end(), before);
    std::vector<int32_t> kept;
    prune(found, most, width, true, [&](int32_t n) { return shaped.data() + (n + 1) * width; }, kept);
    for (int32_t &n : kept) n = ids[n];
    return kept;
  }

  template <typename T>
  void add(int64_t id, int64_t beam, Walk &w) {
    // The products of shaped keys, as products of this one, turned back, with the keys as they are.
    std::vector<float> mine(g.width), query(g.width, 0.0f);
    place<T>(id, mine.data());
    for (int64_t e = 0; e < g.width; ++e) {
      if (!shape.shape) query[e] = mine[e];
      else query[e] = product(mine.data(), shape.shape + e * g.width, g.width);
    }
    Graph seen = g;
    seen.count = id;
    walk<T>(seen, query.data(), beam, w);
    const std::vector<int32_t> ids(w.queue.ids.begin(), w.queue.ids.begin() + w.queue.held);
    const std::vector<int32_t> kept = chosen<T>(id, ids, g.degree / 2);
    int32_t *links = links_of(g, id);
    std::copy(kept.begin(), kept.end(), links);
    for (int32_t other : kept) link<T>(other, id);
  }

  template <typename T>
  void link(int32_t from, int32_t to) {
    int32_t *links = links_of(g, from);
    const int64_t held = std::find(links, links + g.degree, -1) - links;
    if (held < g.degree) {
      links[held] = to;
      return;
    }
    std::vector<int32_t> ids(links, links + g.degree);
    ids.push_back(to);
    const std::vector<int32_t> kept = chosen<T>(from, ids, g.degree);
    std::copy(kept.begin(), kept.end(), links);
  }
};

// Links keys that no walk can reach, since others' links were thinned: each from a near key, or any, in an empty place or
// that of a link which is not needed. Needed are those by which the keys are reached: a tree from the entries.
void attach(const Graph &g) {
  constexpr int32_t nobody = -2, entry = -1;
  std::vector<int32_t> by(g.count, nobody), open;  // from which key each was reached first
  const auto follow = [&](int32_t id, int32_t from) {
    by[id] = from;
    open.assign(1, id);
    while (!open.empty()) {
      const int32_t at = open.back(), *links = links_of(g, at);
      open.pop_back();
      for (int64_t n = 0; n < g.degree && links[n] >= 0; ++n)
        if (by[sound(links[n], g.count)] == nobody) by[links[n]] = at, open.push_back(links[n]);
    }
  };
  const auto place = [&](int32_t from) {
    int32_t *links = links_of(g, from), *found = nullptr;
    for (int64_t n = 0; n < g.degree; ++n) {
      if (links[n] < 0) return links + n;
      if (by[sound(links[n], g.count)] != from) found = links + n;
    }
    return found;
  };
  for (int64_t e = 0; e < g.entry_count; ++e)
    if (by[sound(g.entries[e], g.count)] == nobody) follow(g.entries[e], entry);
  int32_t spare = 0;
  for (int32_t id = 0; id < g.count; ++id) {
    if (by[id] != nobody) continue;
    int32_t *at = nullptr, from = entry;
    const int32_t *near = links_of(g, id);
    for (int64_t n = 0; !at && n < g.degree && near[n] >= 0; ++n)
      if (by[sound(near[n], g.count)] != nobody) at = place(from = near[n]);
    for (; !at && spare < g.count; spare += !at)
      if (by[spare] != nobody) at = place(from = spare);
    if (!at) return;
    *at = id;
    follow(id, from);
  }
}

// The best k of all that the walk scored: what fell out of its queue is known all the same.
template <typename T>
void search(const Graph &g, const float *query, int64_t beam, int64_t k, Walk &w, int32_t *ids, float *scores) {
  walk<T>(g, query, beam, w);
  auto &all = w.scored;
  const int64_t found = std::min<int64_t>(k, all.size());
  if (found < static_cast<int64_t>(all.size())) std::nth_element(all.begin(), all.begin() + found, all.end(), before);
  std::sort(all.begin(), all.begin() + found, before);
  for (int64_t n = 0; n < k; ++n) {
    ids[n] = n < found ? all[n].id : -1;
    scores[n] = n < found ? all[n].score : 0.0f;
  }
}

// A bar that a few more than k of n products lie above, by every sixteenth of them.
float guessed_bar(const float *products, int64_t n, int64_t k, std::vector<float> &sample) {
  constexpr int64_t stride = 16;
  const int64_t rank = k / stride + k / (2 * stride) + 4;
  sample.clear();
  for (int64_t i = 0; i < n; i += stride) sample.push_back(products[i]);
  if (rank >= static_cast<int64_t>(sample.size())) return -std::numeric_limits<float>::infinity();
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<float>());
  return sample[rank];
}

// The k best of n products: those above a bar; where too few are, all of them.
void best(const float *products, int64_t n, int64_t k, std::vector<Near> &held, std::vector<float> &sample) {
  constexpr int64_t block = 32;
  float bar = guessed_bar(products, n, k, sample);
  for (;; bar = -std::numeric_limits<float>::infinity()) {
    held.clear();
    for (int64_t start = 0; start < n; start += block) {
      const int64_t end = std::min(n, start + block);
      int32_t above = 0;
#pragma omp simd reduction(+ : above)
      for (int64_t i = start; i < end; ++i) above += products[i] >= bar;
      if (!above) continue;
      for (int64_t i = start; i < end; ++i)
        if (products[i] >= bar) held.push_back({products[i], static_cast<int32_t>(i)});
    }
    if (static_cast<int64_t>(held.size()) >= k) break;
    if (bar == -std::numeric_limits<float>::infinity()) throw std::domain_error("not a number");
  }
  std::partial_sort(held.begin(), held.begin() + k, held.end(), before);
}

}  // namespace

extern "C" {

// 0: done; 1: there was no memory. The links of a graph whose projection holds `near` of `degree` links a key.
int foveal_roar_build(Build *build) {
  try {
    Builder builder{*build, {}};
    std::vector<std::vector<int32_t>> passed;
    builder.project();
    builder.connect(passed);
    builder.attach(passed);
    std::vector<int32_t> flat;
    builder.write(build->degree, flat);
    std::copy(flat.begin(), flat.end(), build->links);
    return 0;
  } catch (...) {
    return 1;
  }
}

// queries (graphs, each, width) -> ids and scores (graphs, each, k), products (graphs, each). 1: there was no memory;
// 2: a link leads to no key.
int foveal_roar_search(const Graph *graphs, int64_t count, int64_t each, const float *queries, int64_t beam, int64_t k,
                       int64_t threads, int32_t *ids, float *scores, int64_t *products) {
  std::atomic<int> failed{0};
#pragma omp parallel num_threads(threads)
  {
    Walk w;
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < count * each; ++task) {
      try {
        const Graph &g = graphs[task / each];
        const float *query = queries + task * g.width;
        if (g.bfloat16) search<uint16_t>(g, query, beam, k, w, ids + task * k, scores + task * k);
        else search<float>(g, query, beam, k, w, ids + task * k, scores + task * k);
        products[task] = w.scored.size();
      } catch (const Damaged &) {
        failed = 2;
      } catch (...) {
        failed = 1;
      }
    }
  }
  return failed.load();
}

// The k best of each row of products (rows, n), best first, of equals the first: ids (rows, k). 2: some are no numbers.
int foveal_roar_best(const float *products, int64_t rows, int64_t n, int64_t k, int64_t threads, int32_t *ids) {
  std::atomic<int> failed{0};
#pragma omp parallel num_threads(threads)
  {
    std::vector<Near> held;
    std::vector<float> sample;
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
      try {
        best(products + r * n, n, k, held, sample);
        for (int64_t i = 0; i < k; ++i) ids[r * k + i] = held[i].id;
      } catch (const std::domain_error &) {
        failed = 2;
      } catch (...) {
        failed = 1;
      }
    }
  }
  return failed.load();
}

// Links the keys `first` to `count` of each graph, one after another; then every key can be reached. Fails as the search.
int foveal_roar_add(Graph *graphs, const Shape *shapes, int64_t count, int64_t first, int64_t beam, int64_t threads) {
  std::atomic<int> failed{0};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t n = 0; n < count; ++n) {
    try {
      Walk w;
      Adder adder{graphs[n], shapes[n], {}};
      for (int64_t id = first; id < graphs[n].count; ++id) {
        if (graphs[n].bfloat16) adder.add<uint16_t>(id, beam, w);
        else adder.add<float>(id, beam, w);
      }
      attach(graphs[n]);
    } catch (const Damaged &) {
      failed = 2;
    } catch (...) {
      failed = 1;
    }
  }
  return failed.load();
}

}  // extern "C"
