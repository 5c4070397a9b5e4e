import { HttpMethod, IsomorphicFetchHttpLibrary, KubeConfig, RequestContext } from '@kubernetes/client-node';

type Dispatcher = NonNullable<ReturnType<RequestContext['getDispatcher']>>;
type Interceptor = Parameters<Dispatcher['compose']>[0] extends infer T
  ? Extract<T, (...args: never[]) => unknown>
  : never;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Request = {
  method: Method;
  /** With its query. */
  path: string;
  body?: string;
  contentType?: string;
  signal: AbortSignal;
  /** Called when the request is about to be written to its socket: what it throws keeps it from being sent. */
  beforeSend?: () => void;
};
export type Answer = {
  status: number;
  headers: Record<string, string>;
  text: () => Promise<string>;
  stream: () => unknown;
};

/** What a client needs of a connection: tests put in their own. */
export interface Transport {
  /** The namespace of the credentials. */
  readonly namespace: string;
  /** Sends a request. Rejects where nobody answered; any status is an answer. */
  send(request: Request): Promise<Answer>;
}

/** Says who asks, in the API server's audit log. */
const USER_AGENT = 'pushcluster-operator';

/** The way to an API server: address, certificates and credentials of a KubeConfig, over connections that stay open. */
export class Connection implements Transport {
  /** `https://…` */
  readonly server: string;
  /** The namespace of the credentials: the pod's own inside a cluster. */
  readonly namespace: string;
  readonly #config: PooledConfig;
  readonly #http = new IsomorphicFetchHttpLibrary();

  constructor(config: PooledConfig) {
    const server = config.getCurrentCluster()?.server;
    if (!server) throw new Error('the kubeconfig has no current context with a cluster: set one, or set KUBECONFIG');
    this.server = server.replace(/\/$/, '');
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
    this.#config = config;
  }

  async send({ method, path, body, contentType, signal, beforeSend }: Request): Promise<Answer> {
    const context = new RequestContext(`${this.server}${path}`, HttpMethod[method]);
    context.setHeaderParam('Accept', 'application/json');
    context.setHeaderParam('User-Agent', USER_AGENT);
    if (body !== undefined) {
      context.setHeaderParam('Content-Type', contentType ?? 'application/json');
      context.setBody(body);
    }
    context.setSignal(signal);
    await this.#config.applySecurityAuthentication(context);
    if (beforeSend) {
      beforeSend();
      const dispatcher = context.getDispatcher();
      if (dispatcher) context.setDispatcher(dispatcher.compose(guarding(beforeSend)));
    }
    const response = await this.#http.send(context).toPromise();
    return {
      status: response.httpStatusCode,
      headers: response.headers,
      text: () => response.body.text(),
      stream: () => response.body.stream(),
    };
  }
}

/** Connects as $KUBECONFIG says, or else as a pod of the cluster. Throws a sentence where there is neither. */
export function connect(environment: NodeJS.ProcessEnv = process.env): Connection {
  const config = new PooledConfig();
  if (environment.KUBECONFIG) config.loadFromFile(environment.KUBECONFIG);
  else if (environment.KUBERNETES_SERVICE_HOST) config.loadFromCluster();
  else throw new Error('there is no Kubernetes to talk to: run in a pod with a service account, or set KUBECONFIG');
  return new Connection(config);
}

/** A KubeConfig that keeps one pool of connections: by itself it opens a new one for each call. */
class PooledConfig extends KubeConfig {
  #key: string | undefined;
  #dispatcher: Dispatcher | undefined;

  override createDispatcherOptions(
    ...args: Parameters<KubeConfig['createDispatcherOptions']>
  ): ReturnType<KubeConfig['createDispatcherOptions']> {
    const options = super.createDispatcherOptions(...args);
    if (options.type === 'none') return options;
    // Read from files each time, so that rotated certificates count: then the pool is a new one.
    const key = JSON.stringify(options);
    if (key === this.#key) return { type: 'none' };
    this.#key = key;
    if (options.type !== 'agent') return options;
    // A connection for each watch: one that hangs holds nothing else up.
    return { ...options, connect: Object.assign(options.connect, { allowH2: false }) };
  }

  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    await super.applySecurityAuthentication(context);
    const made = context.getDispatcher();
    if (made) {
      // Whatever is under way over the old ones is let finish.
      void this.#dispatcher?.close();
      this.#dispatcher = made;
    } else if (this.#dispatcher) context.setDispatcher(this.#dispatcher);
  }
}

/** Asks once more when a connection is there: waiting for one, the process may have stood still for long. */
function guarding(beforeSend: () => void): Interceptor {
  return (dispatch) => (options, handler) => {
    const guarded: typeof handler = Object.create(handler);
    guarded.onRequestStart = function (controller, context) {
      beforeSend();
      handler.onRequestStart?.call(this, controller, context);
    };
    return dispatch(options, guarded);
  };
}
